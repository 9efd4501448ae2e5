"""InternVL 3 and 3.5 in transformers' own format ("-hf"): frames of 448 x 448, 256 tokens each, numbered in words.

Images are shown whole, as one square; cutting them into tiles is left out, so that an image costs what a frame costs.
The older InternVLChatModel format needs remote code and is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.core.backbones.base import EncodedPrompt, Names
from tasks.core.backbones.frames import FrameBackbone, image_output, joined

if TYPE_CHECKING:
    import torch

    from tasks.core.video.clip import Clip


class InternVL(FrameBackbone):
    """On Qwen2.5 (3) or Qwen3 (3.5), from 1B to 78B."""

    model_types = ("internvl",)
    processors = ("InternVLProcessor",)
    placeholders: ClassVar[Mapping[str, str]] = {"image": "<IMG_CONTEXT>", "video": "<video>"}
    written: ClassVar[Mapping[str, str]] = {"image": "<IMG_CONTEXT>\n", "video": "<video>\n"}
    visual_tokens = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    image_options: ClassVar[Mapping[str, Any]] = {"do_resize": False, "crop_to_patches": False}
    names = Names(
        encoder=("vision_tower", "multi_modal_projector"),
        vision_blocks="vision_tower.encoder.layer",
        lora_text=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
        lora_vision=r".*vision_tower\.encoder.*\.(q_proj|k_proj|v_proj|projection_layer|fc1|fc2)",
    )

    def media_token(self, data_type: str) -> str:
        """Frames of a video are images to the model."""
        return "<IMG_CONTEXT>"

    def frame_tokens(self, processor: Any, config: Any) -> tuple[int, int]:
        """See `FrameBackbone.frame_tokens`."""
        vision = config.vision_config
        height, width = (
            int(s // p * config.downsample_ratio) for s, p in zip(vision.image_size, vision.patch_size, strict=True)
        )
        return processor.image_seq_length, height * width

    def expansion(self, processor: Any, clip: Clip, data_type: str) -> str:
        """An image, or frames with their numbers."""
        if data_type == "image":
            return processor.replace_image_token({"num_patches": [1]}, 0)
        return processor.replace_video_token({"pixel_values_videos": [clip.frames]}, 0)

    def frames_of(self, inputs: Mapping[str, Any], data_type: str) -> torch.Tensor:
        """See `FrameBackbone.frames_of`."""
        return inputs["pixel_values"]

    def pixels(self, prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
        """Frames of images and videos alike, in row order."""
        shown = [prompt.pixels for prompt in prompts if prompt.kind]
        return {"pixel_values": joined(shown)} if shown else {}

    def features(self, model: Any, prompts: Sequence[EncodedPrompt]) -> list[torch.Tensor]:
        """One pass over all frames."""
        frames = [len(prompt.patches) for prompt in prompts]
        values = self.pixels(prompts)["pixel_values"].to(model.device)
        output = model.get_image_features(pixel_values=values)
        return [part.flatten(0, 1) for part in output.pooler_output.split(frames)]

    def encoder_outputs(
        self, prompts: Sequence[EncodedPrompt], features: Sequence[torch.Tensor | None]
    ) -> dict[str, Any]:
        """All rows' features under images, for one token stands for both."""
        shown = [row for row in features if row is not None]
        return image_output(joined(shown).unsqueeze(0)) if shown else {}

    def engine_options(self) -> dict[str, Any]:
        """Images are not cut into tiles."""
        return dict(self.image_options)

    def tiny_processor(self, corpus: Iterable[str], vocabulary: int) -> Any:
        """See `Backbone.tiny_processor`; frames of 56 x 56."""
        from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

        from tasks.core.backbones import tiny

        named = {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
        size = {"height": 56, "width": 56}
        return InternVLProcessor(
            image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=False),
            tokenizer=tiny.tokenizer(corpus, vocabulary, self.visual_tokens, extra_special_tokens=named),
            video_processor=InternVLVideoProcessor(size=size),
            image_seq_length=4,
            chat_template=tiny.chat_template(**self.written),
        )

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """See `Backbone.tiny_model`."""
        from transformers import InternVLConfig, InternVLForConditionalGeneration

        from tasks.core.backbones import tiny

        tokenizer = processor.tokenizer
        text = tiny.text_settings(tokenizer, hidden_size=hidden_size, layers=layers, heads=heads)
        config = InternVLConfig(
            text_config={**text, "model_type": "qwen2"},
            vision_config={
                "hidden_size": hidden_size,
                "num_hidden_layers": vision_layers,
                "num_attention_heads": heads,
                "intermediate_size": 3 * hidden_size,
                "image_size": (56, 56),
                "patch_size": (14, 14),
            },
            image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
            image_seq_length=4,
            tie_word_embeddings=True,
        )
        return tiny.random_model(InternVLForConditionalGeneration, config, tokenizer, seed)


BACKBONE = InternVL()
