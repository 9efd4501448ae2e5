"""Qwen2-VL: as Qwen2.5-VL, but its time runs in temporal patches, whatever the sampling rate, and no window is used."""

from __future__ import annotations

from typing import Any

from tasks.core.backbones.base import Block, Names
from tasks.core.backbones.mrope import MRopeBackbone, mrope_section, token_ids


class Qwen2VL(MRopeBackbone):
    """Released in sizes of 2B, 7B and 72B."""

    model_types = ("qwen2_vl",)
    processors = ("Qwen2VLProcessor",)
    names = Names(
        encoder=("visual",),
        vision_blocks="visual.blocks",
        vision_block=Block("attn", ("norm1", "norm2")),
        lora_text=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
        lora_vision=r".*visual\.blocks.*\.(qkv|proj|fc1|fc2)",
    )

    def tiny_classes(self) -> tuple[Any, Any, Any]:
        """See `MRopeBackbone.tiny_classes`."""
        from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

        return Qwen2VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """See `Backbone.tiny_model`."""
        from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

        from tasks.core.backbones import tiny

        tokenizer = processor.tokenizer
        text = tiny.text_settings(tokenizer, hidden_size=hidden_size, layers=layers, heads=heads)
        text["rope_parameters"]["mrope_section"] = mrope_section(hidden_size, heads)
        config = Qwen2VLConfig(
            text_config={**text, "max_window_layers": layers},
            vision_config={
                "depth": vision_layers,
                "embed_dim": hidden_size,
                "hidden_size": hidden_size,
                "mlp_ratio": 3,
                "num_heads": heads,
                "patch_size": self.patch_side,
            },
            **token_ids(tokenizer),
            tie_word_embeddings=True,
        )
        return tiny.random_model(Qwen2VLForConditionalGeneration, config, tokenizer, seed)


BACKBONE = Qwen2VL()
