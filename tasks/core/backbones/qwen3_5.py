"""Qwen3.5: Qwen3-VL's prompts and encoder without deepstack; three of four layers are linear attention.

Linear attention (a gated delta net) carries a state from token to token: completions that share a row would share it.
Rows are therefore read one by one, and in rollouts every completion gets a copy of its prompt's state. On GPUs
transformers wants flash-linear-attention and causal-conv1d for speed; without them it computes in plain torch.
"""

from __future__ import annotations

from typing import Any

from tasks.core.backbones.base import Block, Names
from tasks.core.backbones.mrope import mrope_section, token_ids
from tasks.core.backbones.qwen3_vl import Qwen3VL


class Qwen35(Qwen3VL):
    """The dense sizes; the mixtures of experts (qwen3_5_moe) are not supported."""

    model_types = ("qwen3_5",)
    serves_video = "on a CPU vLLM computes its linear attention in bfloat16 alone, on a GPU it is not compared"
    names = Names(
        encoder=("visual",),
        vision_blocks="visual.blocks",
        vision_block=Block("attn", ("norm1", "norm2")),
        text_block=None,
        lora_text=(
            r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|in_proj_\w+|out_proj)"
        ),
        lora_vision=r".*visual\.blocks.*\.(qkv|proj|linear_fc1|linear_fc2)",
    )

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """See `Backbone.tiny_model`; the last of the layers is full attention, the others are linear."""
        from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

        from tasks.core.backbones import tiny

        tokenizer, head = processor.tokenizer, hidden_size // heads
        text = tiny.text_settings(tokenizer, hidden_size=hidden_size, layers=layers, heads=heads)
        text["rope_parameters"] |= {
            "mrope_section": mrope_section(hidden_size, heads, interleaved=True),
            "mrope_interleaved": True,
            "partial_rotary_factor": 1.0,
        }
        linear = {"linear_key_head_dim": head, "linear_value_head_dim": head}
        heads_of_linear = {"linear_num_key_heads": heads, "linear_num_value_heads": heads}
        kinds = ["linear_attention"] * (layers - 1) + ["full_attention"]
        config = Qwen3_5Config(
            text_config={**text, **linear, **heads_of_linear, "head_dim": head, "layer_types": kinds},
            vision_config=self.tiny_vision(hidden_size, heads, vision_layers),
            **token_ids(tokenizer),
            tie_word_embeddings=True,
        )
        return tiny.random_model(Qwen3_5ForConditionalGeneration, config, tokenizer, seed)


BACKBONE = Qwen35()
