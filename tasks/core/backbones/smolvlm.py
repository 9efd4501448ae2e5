"""SmolVLM2: frames of one square, each with its time in words; from 256M to 2.2B, for laptops.

Images are shown as one square, without splitting. The processor spells the number of frames (package num2words). vLLM
serves this family's images only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.core.backbones.base import Block, EncodedPrompt, FrameShape, Names, video_metadata
from tasks.core.backbones.frames import FrameBackbone, image_output, joined

if TYPE_CHECKING:
    import torch

    from tasks.core.video.clip import Clip


class SmolVLM(FrameBackbone):
    """SmolVLM2, on SmolLM2."""

    model_types = ("smolvlm",)
    processors = ("SmolVLMProcessor",)
    placeholders: ClassVar[Mapping[str, str]] = {"image": "<image>", "video": "<video>"}
    written: ClassVar[Mapping[str, str]] = {"image": "<image>", "video": "<video>"}
    visual_tokens = ("<image>", "<fake_token_around_image>", "<global-img>")
    serves_video = "vLLM takes images only from this family"
    image_options: ClassVar[Mapping[str, Any]] = {"do_resize": False, "do_image_splitting": False}
    names = Names(
        decoder="text_model",
        encoder=("vision_model", "connector"),
        vision_blocks="vision_model.encoder.layers",
        vision_block=Block("self_attn", ("layer_norm1", "layer_norm2")),
        lora_text=r".*text_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
        lora_vision=r".*vision_model\.encoder.*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)",
    )

    def frame_shape(self, settings: Mapping[str, Any]) -> FrameShape:
        """The square of one picture without splitting."""
        return FrameShape(1, int(settings["max_image_size"]["longest_edge"]))

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """See `Backbone.render`; a template without videos, as released, gives way to transformers' own.

        By itself transformers takes its own for every chat with a video.
        """
        # Processor settings keep transformers from adding some of its own and warning of them.
        options = {"tokenize": False, "add_generation_prompt": True, "processor_kwargs": {"do_resize": False}}
        text = processor.apply_chat_template(messages, chat_template=processor.chat_template, **options)
        shown = [part for message in messages for part in message["content"] if part == {"type": "video"}]
        if text.count(self.placeholders["video"]) < len(shown):
            return processor.apply_chat_template(messages, **options)
        return text

    def media_arguments(self, clip: Clip | None, data_type: str) -> dict[str, Any]:
        """Media nested by prompt."""
        return {name: [values] for name, values in super().media_arguments(clip, data_type).items()}

    def media_token(self, data_type: str) -> str:
        """Frames of a video are images to the model."""
        return "<image>"

    def frame_tokens(self, processor: Any, config: Any) -> tuple[int, int]:
        """See `FrameBackbone.frame_tokens`."""
        side = config.vision_config.image_size // config.vision_config.patch_size // config.scale_factor
        return processor.image_seq_len, side**2

    def expansion(self, processor: Any, clip: Clip, data_type: str) -> str:
        """An image between its marks; a video's introduction and its frames behind their times."""
        if data_type == "image":
            return processor.replace_image_token({"rows": [[0]], "cols": [[0]]}, 0)
        from transformers.video_utils import VideoMetadata

        metadata = VideoMetadata(**video_metadata(clip))
        return processor.replace_video_token({"pixel_values": clip.frames[None], "video_metadata": [metadata]}, 0)

    def frames_of(self, inputs: Mapping[str, Any], data_type: str) -> torch.Tensor:
        """See `FrameBackbone.frames_of`."""
        return inputs["pixel_values"][0]

    def pixels(self, prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
        """(rows, most frames, channels, side, side); shorter rows end in zeros, which the model takes out."""
        from torch.nn.utils.rnn import pad_sequence

        shown = [prompt.pixels for prompt in prompts if prompt.pixels is not None]
        return {"pixel_values": pad_sequence(shown, batch_first=True)} if shown else {}

    def features(self, model: Any, prompts: Sequence[EncodedPrompt]) -> list[torch.Tensor]:
        """One pass over all frames."""
        frames = [len(prompt.patches) for prompt in prompts]
        values = joined([prompt.pixels for prompt in prompts]).unsqueeze(0).to(model.device)
        output = model.get_image_features(pixel_values=values)
        return [part.flatten(0, 1) for part in output.pooler_output.split(frames)]

    def encoder_outputs(
        self, prompts: Sequence[EncodedPrompt], features: Sequence[torch.Tensor | None]
    ) -> dict[str, Any]:
        """All rows' features under images, frame by frame."""
        shown = [(row, len(prompt.patches)) for prompt, row in zip(prompts, features, strict=True) if row is not None]
        return image_output(joined([row.unflatten(0, (frames, -1)) for row, frames in shown])) if shown else {}

    def tiny_processor(self, corpus: Iterable[str], vocabulary: int) -> Any:
        """See `Backbone.tiny_processor`; frames of 56 x 56."""
        from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

        from tasks.core.backbones import tiny

        size: dict[str, Any] = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 56}}
        template = tiny.chat_template(**self.written)
        return SmolVLMProcessor(
            image_processor=SmolVLMImageProcessor(**size, do_image_splitting=False),
            tokenizer=tiny.tokenizer(corpus, vocabulary, self.visual_tokens),
            video_processor=SmolVLMVideoProcessor(**size),
            image_seq_len=4,
            chat_template=template,
        )

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """See `Backbone.tiny_model`."""
        from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

        from tasks.core.backbones import tiny

        tokenizer = processor.tokenizer
        text = tiny.text_settings(tokenizer, hidden_size=hidden_size, layers=layers, heads=heads)
        config = SmolVLMConfig(
            text_config={**text, "model_type": "llama"},
            vision_config=tiny.siglip_settings(hidden_size, heads, vision_layers) | {"model_type": "smolvlm_vision"},
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            pad_token_id=text["pad_token_id"],
            scale_factor=2,
            tie_word_embeddings=True,
        )
        return tiny.random_model(SmolVLMForConditionalGeneration, config, tokenizer, seed)


BACKBONE = SmolVLM()
