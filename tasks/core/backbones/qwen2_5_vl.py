"""Qwen2.5-VL: patches of two frames, windowed encoder, M-RoPE whose time runs in seconds.

The encoder treats every temporal patch alone: its attention, windowed or full, ends at the patch, and its positions are
those of height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tasks.core.backbones.base import Block, Names
from tasks.core.backbones.mrope import MRopeBackbone

PATCH_PIXELS = 14
FRAME_PIXELS = 56 * 56


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
        fsdp_layers=("Qwen2_5_VLDecoderLayer", "Qwen2_5_VLVisionBlock"),
    )
    untouched_video: ClassVar[Mapping[str, Any]] = {
        "do_resize": False,
        "do_sample_frames": False,
        "cap_pixels_per_frame": False,
    }

    def engine_options(self) -> dict[str, Any]:
        """Nor may vLLM's processor cap the pixels of a frame."""
        return {"do_resize": False, "cap_pixels_per_frame": False}

    def tiny_processor(self, corpus: Iterable[str], vocabulary: int) -> Any:
        """See `Backbone.tiny_processor`."""
        from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

        from tasks.core.backbones import tiny

        pixels: dict[str, Any] = {"patch_size": PATCH_PIXELS, "temporal_patch_size": 2, "merge_size": 2}
        size = {"shortest_edge": FRAME_PIXELS, "longest_edge": FRAME_PIXELS}
        return Qwen2_5_VLProcessor(
            image_processor=Qwen2VLImageProcessor(size=size, **pixels),
            tokenizer=tiny.tokenizer(corpus, vocabulary, self.visual_tokens),
            video_processor=Qwen2VLVideoProcessor(size=size, cap_pixels_per_frame=False, **pixels),
            chat_template=tiny.chat_template(**self.written),
        )

    def tiny_model(
        self, processor: Any, *, hidden_size: int, layers: int, heads: int, vision_layers: int, seed: int
    ) -> Any:
        """See `Backbone.tiny_model`; differs from released checkpoints in `mrope_section`, too, which is square."""
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

        from tasks.core.backbones import tiny

        tokenizer = processor.tokenizer
        half = hidden_size // heads // 2
        rows = half * 3 // 8
        text = tiny.text_settings(tokenizer, hidden_size=hidden_size, layers=layers, heads=heads)
        text["rope_parameters"]["mrope_section"] = [half - 2 * rows, rows, rows]
        config = Qwen2_5_VLConfig(
            text_config={**text, "max_window_layers": layers},
            vision_config={
                "depth": vision_layers,
                "hidden_size": hidden_size,
                "intermediate_size": 3 * hidden_size,
                "num_heads": heads,
                "patch_size": PATCH_PIXELS,
                "tokens_per_second": 2,
                "window_size": 112,
                "out_hidden_size": hidden_size,
                "fullatt_block_indexes": list(range(vision_layers)),
            },
            image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
            video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
            vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
            vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
            tie_word_embeddings=True,
        )
        return tiny.random_model(Qwen2_5_VLForConditionalGeneration, config, tokenizer, seed)


BACKBONE = Qwen25VL()
