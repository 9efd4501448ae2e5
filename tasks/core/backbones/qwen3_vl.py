"""Qwen3-VL: timestamps in the prompt, interleaved M-RoPE, and features for several layers of the language model.

Every temporal patch of two frames stands alone in the prompt, after its time: `<0.2 seconds>`, then its tokens between
vision marks. The encoder gives features for the input and for the first layers of the language model (deepstack).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.core.backbones.base import Block, Names, video_metadata
from tasks.core.backbones.mrope import MRopeBackbone, mrope_section, token_ids

if TYPE_CHECKING:
    import torch

    from tasks.core.video.clip import Clip


class Qwen3VL(MRopeBackbone):
    """Released dense in sizes from 2B to 32B; the mixtures of experts (qwen3_vl_moe) are not supported."""

    model_types = ("qwen3_vl",)
    processors = ("Qwen3VLProcessor",)
    written: ClassVar[Mapping[str, str]] = {
        "image": "<|vision_start|><|image_pad|><|vision_end|>",
        "video": "<|video_pad|>",
    }
    patch_side = 16
    tiny_scaling: ClassVar[Mapping[str, Any]] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    names = Names(
        encoder=("visual",),
        vision_blocks="visual.blocks",
        vision_block=Block("attn", ("norm1", "norm2")),
        lora_text=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
        lora_vision=r".*visual\.blocks.*\.(qkv|proj|linear_fc1|linear_fc2)",
    )

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str:
        """The checkpoint's template, without the vision marks around a video.

        The processor puts marks around each temporal patch, and left in its place the outer pair would stay, as no
        released model has seen it: until transformers 5.10 it was replaced together with the placeholder.
        """
        text = super().render(processor, messages)
        return text.replace("<|vision_start|><|video_pad|><|vision_end|>", self.placeholders["video"])

    def expansion(self, processor: Any, clip: Clip, data_type: str) -> str:
        """An image's tokens; a video's, patch by patch behind their times."""
        if data_type == "image":
            return super().expansion(processor, clip, data_type)
        import numpy as np
        from transformers.video_utils import VideoMetadata

        time, height, width = self._grid(processor, clip)
        merge = processor.video_processor.merge_size
        grid = np.array([[time, height * merge, width * merge]])
        metadata = VideoMetadata(**video_metadata(clip))
        return processor.replace_video_token({"video_grid_thw": grid, "video_metadata": [metadata]}, 0)

    def use_positions(self, model: Any) -> None:
        """Leave transformers' own rule: every temporal patch is a grid of its own there."""

    def feature_rows(self, output: Any) -> list[torch.Tensor]:
        """(tokens, 1 + layers, hidden): features for the input, then for each layer that takes some."""
        import torch

        if not hasattr(output, "deepstack_features"):
            return super().feature_rows(output)
        layers = zip(output.pooler_output, *output.deepstack_features, strict=True)
        return [torch.stack(parts, dim=1) for parts in layers]

    def output_of_rows(self, rows: list[Any]) -> Any:
        """Undo `feature_rows`."""
        if rows[0].ndim == 2:
            return super().output_of_rows(rows)
        from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

        first, *others = zip(*(row.unbind(dim=1) for row in rows), strict=True)
        return BaseModelOutputWithDeepstackFeatures(pooler_output=first, deepstack_features=others)

    def tiny_classes(self) -> tuple[Any, Any, Any]:
        """See `MRopeBackbone.tiny_classes`."""
        from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

        return Qwen3VLProcessor, Qwen2VLImageProcessor, Qwen3VLVideoProcessor

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """See `Backbone.tiny_model`."""
        from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

        from tasks.core.backbones import tiny

        tokenizer = processor.tokenizer
        text = tiny.text_settings(tokenizer, hidden_size=hidden_size, layers=layers, heads=heads)
        text["rope_parameters"] |= {
            "mrope_section": mrope_section(hidden_size, heads, interleaved=True),
            "mrope_interleaved": True,
        }
        config = Qwen3VLConfig(
            text_config={**text, "head_dim": hidden_size // heads},
            vision_config=self.tiny_vision(hidden_size, heads, vision_layers)
            | {"deepstack_visual_indexes": list(range(vision_layers))},
            **token_ids(tokenizer),
            tie_word_embeddings=True,
        )
        return tiny.random_model(Qwen3VLForConditionalGeneration, config, tokenizer, seed)

    def tiny_vision(self, hidden_size: int, heads: int, layers: int) -> dict[str, Any]:
        """Sizes of a small encoder."""
        return {
            "depth": layers,
            "hidden_size": hidden_size,
            "intermediate_size": 3 * hidden_size,
            "num_heads": heads,
            "out_hidden_size": hidden_size,
            "patch_size": self.patch_side,
            "num_position_embeddings": 64,
        }


BACKBONE = Qwen3VL()
