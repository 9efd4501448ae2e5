"""What a backbone is: all that differs between families of vision-language models, behind one interface.

A prompt's way through it, and where each method comes in:

    messages --render--> text with one bare placeholder --encode--> EncodedPrompt: ids, pixels, where each patch lies
    pixels --features--> rows of features, by patch --encoder_outputs--> what a forward takes in place of pixels
    ids --positions--> (R, L), R = 3 under M-RoPE and 1 otherwise

Modules of adapters import no torch at their head: the text and video layers read their plain facts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    import torch

    from tasks.core.video.clip import Clip

IMAGE, VIDEO = 1, 2
KINDS = {"image": IMAGE, "video": VIDEO}
NAMES = {kind: name for name, kind in KINDS.items()}
Patches = tuple[tuple[int, ...], ...]
"""The frames of every temporal patch, as their source numbers them."""


class EncodedPrompt(NamedTuple):
    """One rendered prompt with its medium, not padded."""

    ids: torch.Tensor
    """(L,) token ids, the placeholder expanded."""
    kinds: torch.Tensor
    """(L,) 0 text, 1 image, 2 video: what M-RoPE places tokens by."""
    kind: int
    """IMAGE, VIDEO or 0 for text alone."""
    pixels: torch.Tensor | None
    """float32, temporal patch after temporal patch along the first dimension."""
    grid: torch.Tensor | None
    """(1, 3) patches in time, height and width; None where positions do not need it."""
    seconds_per_grid: torch.Tensor | None
    """(1,) seconds between temporal patches; None where positions do not need it."""
    source: str | None = None
    """Names the medium: where source and patches are equal, so are pixels. None: unknown, or no medium."""
    patches: Patches = ()
    """In the order shown; the last frame of an odd number is its own second."""
    family: str = ""
    """model_type of the backbone that encoded it; empty where there is no medium to tell it by."""


class FrameShape(NamedTuple):
    """Sizes of frames that a vision encoder takes."""

    side_factor: int = 28
    """Both sides are multiples of it, within the pixel budget."""
    fixed_side: int | None = None
    """Every frame is a square of this side, whatever the budget; None for any size."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Names of a transformer block's parts, for selective recomputation."""

    attention: str
    norms: tuple[str, str]
    """Before attention, before the MLP."""
    mlp: str = "mlp"


@dataclasses.dataclass(frozen=True)
class Names:
    """Where a model keeps its parts, by attribute of `model.model`, and patterns over the names of its weights."""

    encoder: tuple[str, ...]
    """Modules and weights that only pixels pass through; together they train or are frozen."""
    vision_blocks: str
    """Dotted path to the encoder's blocks."""
    lora_text: str
    """Regular expression of the language model's projections."""
    lora_vision: str
    """Regular expression of the encoder's projections."""
    decoder: str = "language_model"
    text_block: Block | None = Block("self_attn", ("input_layernorm", "post_attention_layernorm"))
    vision_block: Block | None = None
    """None: the blocks do more than attention and MLP, and keep their activations."""


class Backbone:
    """One family of models. Defaults fit frame-wise encoders and one-dimensional positions."""

    model_types: ClassVar[tuple[str, ...]]
    """config.json's model_type."""
    processors: ClassVar[tuple[str, ...]]
    """Classes of processors; families that share one read prompts alike."""
    placeholders: ClassVar[Mapping[str, str]]
    """Data type -> what stands for the medium in a rendered prompt."""
    written: ClassVar[Mapping[str, str]]
    """Data type -> placeholder with what the chat template puts around it."""
    visual_tokens: ClassVar[tuple[str, ...]]
    """Tokens that stand for pixels or frame them: never sampled, never spelled in a text."""
    names: ClassVar[Names]
    frames_per_patch: ClassVar[int] = 1
    """Frames of a temporal patch, whose features do not depend on other patches."""
    feature_tail: ClassVar[Mapping[int, int]] = {}
    """Kind -> rows of its features that belong to no patch and come last."""
    places_by_kind: ClassVar[bool] = False
    """Whether the model's forward takes the kind of every token (`mm_token_type_ids`)."""
    one_pass: ClassVar[bool] = True
    """Whether images and videos of any size go through the encoder together, as sharded weights need it."""
    windowed_encoder: ClassVar[bool] = False
    """Whether the encoder reads all media as one row and gives attention the bounds of its windows."""
    serves_video: ClassVar[str | None] = None
    """Why vLLM does not serve this family's videos; None where it does."""
    engine_worker: ClassVar[str | None] = None
    """Path of a class whose module vLLM's workers import, which corrects their model of this family."""

    # Plain facts.

    def frame_shape(self, settings: Mapping[str, Any]) -> FrameShape:
        """Sizes of frames, by the checkpoint's processor settings (preprocessor_config.json)."""
        raise NotImplementedError

    def misfit(self, processor: Any, config: Any) -> str | None:
        """Where a processor's sizes of patches, frames or tokens are not those of the model; None where all are."""
        raise NotImplementedError

    # Text.

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """Chat messages by the checkpoint's own template, ending where the completion begins."""
        return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def expansion(self, processor: Any, clip: Clip, data_type: str) -> str:
        """What the processor puts in the placeholder's place for a clip; no pixel is touched."""
        raise NotImplementedError

    # One prompt.

    def encode(
        self, processor: Any, prompt: str, clip: Clip | None, data_type: str, source: str | None = None
    ) -> EncodedPrompt:
        """A rendered prompt with its clip; the clip is taken as it is, neither sampled nor resized."""
        raise NotImplementedError

    def patches(self, clip: Clip) -> Patches:
        """Source frames of each temporal patch of a clip; the last patch is filled up with its last frame."""
        size = self.frames_per_patch
        frames = [*clip.indices, *[clip.indices[-1]] * (-len(clip.indices) % size)]
        return tuple(zip(*(frames[place::size] for place in range(size)), strict=True))

    def select_patches(self, prompt: EncodedPrompt, places: Sequence[int]) -> EncodedPrompt:
        """The pixels of some temporal patches; ids and positions are left as they are."""
        assert prompt.pixels is not None
        rows = prompt.pixels.unflatten(0, (len(prompt.patches), -1))
        return prompt._replace(pixels=rows[list(places)].flatten(0, 1))

    def reordered(self, prompt: EncodedPrompt, order: Sequence[int], shown: Clip) -> EncodedPrompt:
        """A prompt about a video with its frames in another order, as `encode` would make it; no pixel is made anew.

        Args:
            prompt: encoded with the frames in their own order.
            order: which frame is shown at each place.
            shown: the clip in that order.
        """
        return self.select_patches(prompt, order)._replace(patches=self.patches(shown))

    # Batches.

    def placing(self, prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
        """What the model places tokens by, beside ids and token kinds: grids and time scale, in row order."""
        return {}

    def pixels(self, prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
        """Pixel arguments of a forward over prompts, in row order."""
        raise NotImplementedError

    def joining(self, prompts: Sequence[EncodedPrompt]) -> list[list[int]]:
        """Rows whose pixels fit into one forward together, as groups of all rows; features always fit."""
        return [list(range(len(prompts)))]

    def joins(self, prompts: Sequence[EncodedPrompt]) -> bool:
        """Whether the pixels of these prompts fit into one forward."""
        return len(self.joining(prompts)) <= 1

    # The model.

    def decoder(self, model: Any) -> Any:
        """The language model inside an unwrapped model, without its output layer."""
        return getattr(model.model, self.names.decoder)

    def encoder_parameters(self, model: Any) -> Iterator[torch.nn.Parameter]:
        """Weights of the vision encoder and of what leads from it to the language model, adapters included."""
        parts = [getattr(model.model, name) for name in self.names.encoder]
        return chain.from_iterable(part.parameters() if hasattr(part, "parameters") else [part] for part in parts)

    def vision_blocks(self, model: Any) -> Sequence[torch.nn.Module]:
        """The encoder's blocks, in order."""
        return attrgetter(self.names.vision_blocks)(model.model)

    def layer_classes(self, model: Any) -> tuple[str, ...]:
        """Classes of the layers that weights are sharded by, one after the other."""
        layers = [*self.decoder(model).layers, *self.vision_blocks(model)]
        return tuple(dict.fromkeys(type(layer).__name__ for layer in layers))

    def use_positions(self, model: Any) -> None:
        """Make the model itself place tokens as `positions` does, where transformers does otherwise."""

    def positions(self, model: Any, prompt: EncodedPrompt) -> tuple[torch.Tensor, int]:
        """Positions (R, L) of a prompt's tokens, and the position that follows."""
        import torch

        return torch.arange(len(prompt.ids)).unsqueeze(0), len(prompt.ids)

    def generate_positions(
        self, model: Any, prompts: Sequence[EncodedPrompt], inputs: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Positions of left-padded prompts in the form that `generate` goes on from; the batch is dimension -2."""
        return (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)

    def features(self, model: Any, prompts: Sequence[EncodedPrompt]) -> list[torch.Tensor]:
        """Features (n_i, ...) of prompts of one kind, a row for each token, from as few passes as shapes allow."""
        raise NotImplementedError

    def joint_features(self, model: Any, prompts: Sequence[EncodedPrompt]) -> list[torch.Tensor]:
        """`features` of images and videos together, from one pass of the encoder whatever there is of each.

        Raises:
            NotImplementedError: `one_pass` is false.
        """
        if not self.one_pass:
            raise NotImplementedError(f"{self.model_types[0]}: the encoder takes a pass for each kind and length")
        return self.features(model, prompts)

    def encoder_outputs(
        self, prompts: Sequence[EncodedPrompt], features: Sequence[torch.Tensor | None]
    ) -> dict[str, Any]:
        """Features of the rows of a batch as the model's `mm_encoder_outputs`; rows may share a tensor."""
        raise NotImplementedError

    def unpackable(self, model: Any) -> str | None:
        """Why the model cannot read rows packed with several completions, in one clause; None when it can."""
        config = self.decoder(model).config
        kinds = set(getattr(config, "layer_types", None) or ())
        if "linear_attention" in kinds:
            return "its linear-attention layers carry a state from token to token that packed completions would share"
        if "sliding_attention" in kinds:
            return "its sliding windows cut a packed row elsewhere than the completions' own rows"
        return None

    # vLLM.

    def engine_options(self) -> dict[str, Any]:
        """Arguments of the processor inside vLLM."""
        return {"do_resize": False}

    def engine_media(self, clip: Clip, data_type: str) -> dict[str, Any]:
        """A clip as vLLM's `multi_modal_data`."""
        if data_type == "image":
            from PIL import Image

            return {"image": Image.fromarray(clip.frames[0])}
        return {"video": [(clip.frames, {**video_metadata(clip), "do_sample_frames": False})]}

    # Tests, measurements, mini models.

    def tiny_processor(self, corpus: Iterable[str], vocabulary: int) -> Any:
        """A processor for small frames, its tokenizer trained on `corpus` to at most `vocabulary` tokens."""
        raise NotImplementedError

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """A random float32 model for a processor of `tiny_processor`."""
        raise NotImplementedError


def video_metadata(clip: Clip) -> dict[str, Any]:
    """Metadata that makes processors read `clip` as it is: all frames, `clip.sample_fps` frames per second."""
    count = len(clip.frames)
    return {
        "fps": clip.sample_fps,
        "duration": count / clip.sample_fps,
        "total_num_frames": count,
        "frames_indices": list(range(count)),
    }


def media_arguments(clip: Clip | None, data_type: str) -> dict[str, Any]:
    """A clip as `images` or `videos` of a processor's call."""
    if clip is None:
        return {}
    if data_type == "image":
        return {"images": [clip.frames[0].copy()]}  # Decoders give read-only pixels.
    return {"videos": [clip.frames]}
