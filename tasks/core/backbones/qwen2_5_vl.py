"""Qwen2.5-VL: patches of two frames, windowed encoder, M-RoPE whose time runs in seconds.

The encoder treats every temporal patch alone: its attention, windowed or full, ends at the patch, and its positions are
those of height and width.
"""

from __future__ import annotations

from typing import Any

from tasks.core.backbones.base import Block, Names
from tasks.core.backbones.mrope import MRopeBackbone, mrope_section, token_ids


class Qwen25VL(MRopeBackbone):
    """Released in sizes from 3B to 72B."""

    model_types = ("qwen2_5_vl",)
    processors = ("Qwen2_5_VLProcessor",)
    names = Names(
        encoder=("visual",),
        vision_blocks="visual.blocks",
        vision_block=Block("attn", ("norm1", "norm2")),
        lora_text=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
        lora_vision=r".*visual\.blocks.*\.(qkv|proj|gate_proj|up_proj|down_proj)",
    )

    def tiny_classes(self) -> tuple[Any, Any, Any]:
        """See `MRopeBackbone.tiny_classes`."""
        from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

        return Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """See `Backbone.tiny_model`."""
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        from tasks.core.backbones import tiny

        tokenizer = processor.tokenizer
        text = tiny.text_settings(tokenizer, hidden_size=hidden_size, layers=layers, heads=heads)
        text["rope_parameters"]["mrope_section"] = mrope_section(hidden_size, heads)
        config = Qwen2_5_VLConfig(
            text_config={**text, "max_window_layers": layers},
            vision_config={
                "depth": vision_layers,
                "hidden_size": hidden_size,
                "intermediate_size": 3 * hidden_size,
                "num_heads": heads,
                "patch_size": self.patch_side,
                "tokens_per_second": 2,
                "window_size": 112,
                "out_hidden_size": hidden_size,
                "fullatt_block_indexes": list(range(vision_layers)),
            },
            **token_ids(tokenizer),
            tie_word_embeddings=True,
        )
        return tiny.random_model(Qwen2_5_VLForConditionalGeneration, config, tokenizer, seed)


BACKBONE = Qwen25VL()
