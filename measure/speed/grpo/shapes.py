"""Models of random weights to measure: Qwen2.5-VL from the mini model to the released 3B and 7B."""

from __future__ import annotations

from typing import Any

from tasks.core.sizing.shapes import Shape, full_attention_layers

FAMILY = "qwen2_5_vl"
"""model_type whose released sizes these are."""


def build(shape: Shape, processor: Any, dtype: str, device: str) -> Any:
    """Random Qwen2.5-VL of a shape; token ids are those of `processor`, whose vocabulary may be smaller."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    config = configuration(shape, processor)
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=getattr(torch, dtype))
    return _made_ready(model, config)


def build_without_weights(shape: Shape, processor: Any, dtype: str) -> Any:
    """`build` for a process that gets its weights from the first one: parameters hold nothing, buffers are real.

    As `tasks.core.models.load.empty_model`, which wants a checkpoint folder.
    """
    import torch
    from accelerate import init_empty_weights
    from transformers import Qwen2_5_VLForConditionalGeneration

    config = configuration(shape, processor)
    with init_empty_weights(include_buffers=False):
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=getattr(torch, dtype))
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            module.register_parameter(name, torch.nn.Parameter(torch.empty_like(value, device="cpu")))
    model.tie_weights()
    return _made_ready(model, config)


def _made_ready(model: Any, config: Any) -> Any:
    """The model with its end and padding tokens, as `load_model` would hand it over."""
    from tasks.core.train.prepare import prepare

    model.generation_config.eos_token_id = config.text_config.eos_token_id
    model.generation_config.pad_token_id = config.text_config.pad_token_id
    return prepare(model)


def configuration(shape: Shape, processor: Any) -> Any:
    """A shape as a configuration of transformers."""
    from transformers import Qwen2_5_VLConfig

    tokenizer = processor.tokenizer
    half = shape.hidden // shape.heads // 2
    rows = half * 3 // 8
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("im_end", "endoftext", "vision_start")}
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": max(shape.vocabulary, len(tokenizer)),
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_heads,
            "max_window_layers": shape.layers,
            "tie_word_embeddings": shape.tied,
            "bos_token_id": ids["endoftext"],
            "eos_token_id": ids["im_end"],
            "pad_token_id": ids["endoftext"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [half - 2 * rows, rows, rows],
            },
        },
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_hidden,
            "intermediate_size": shape.vision_intermediate,
            "num_heads": shape.vision_heads,
            "tokens_per_second": 2,
            "window_size": 112,
            "out_hidden_size": shape.hidden,
            "fullatt_block_indexes": full_attention_layers(shape.vision_layers),
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=shape.tied,
    )


def build_other(family: str, shape: Shape, processor: Any, dtype: str, device: str) -> Any:
    """A random model of a family (model_type) with a shape's width, depth and heads; its MLPs are three times as wide.

    Operations counted (`flops.py`) are those of `FAMILY`, so that its `of floor` says little of another.
    """
    import torch

    from tasks.core.backbones import backbone_of
    from tasks.core.train.prepare import prepare

    sizes = {"hidden_size": shape.hidden, "layers": shape.layers, "heads": shape.heads}
    model = backbone_of(family).tiny_model(processor, **sizes, vision_layers=shape.vision_layers, seed=0)
    return prepare(model.to(device, getattr(torch, dtype)))
