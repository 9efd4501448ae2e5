"""Models of random weights to measure: Qwen2.5-VL and Qwen3-VL at any shape, other families at mini widths."""

from __future__ import annotations

from typing import Any

from tasks.core.backbones.mrope import mrope_section, token_ids
from tasks.core.sizing.shapes import Shape, full_attention_layers

FAMILY = "qwen2_5_vl"
"""model_type whose released sizes `tasks.core.sizing.shapes.SHAPES` are."""
QWEN3_VL = "qwen3_vl"


def build(shape: Shape, processor: Any, dtype: str, device: str, family: str = FAMILY) -> Any:
    """Random model of a shape; token ids are those of `processor`, whose vocabulary may be smaller.

    Of a family other than Qwen2.5-VL and Qwen3-VL it has the shape's width, depth and heads alone.
    """
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration

    if family not in (FAMILY, QWEN3_VL):
        return build_other(family, shape, processor, dtype, device)
    qwen3 = family == QWEN3_VL
    config = configuration_qwen3_vl(shape, processor) if qwen3 else configuration(shape, processor)
    torch.manual_seed(0)
    with torch.device(device):
        kind = Qwen3VLForConditionalGeneration if qwen3 else Qwen2_5_VLForConditionalGeneration
        model = kind._from_config(config, dtype=getattr(torch, dtype))
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
    """A shape as a configuration of Qwen2.5-VL."""
    from transformers import Qwen2_5_VLConfig

    half = shape.hidden // shape.heads // 2
    rows = half * 3 // 8
    text = _text(shape, processor) | {"max_window_layers": shape.layers}
    text["rope_parameters"] |= {"rope_theta": 1e6, "mrope_section": [half - 2 * rows, rows, rows]}
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=_vision(shape)
        | {
            "tokens_per_second": 2,
            "window_size": 112,
            "fullatt_block_indexes": full_attention_layers(shape.vision_layers),
        },
        **token_ids(processor.tokenizer),
        tie_word_embeddings=shape.tied,
    )


def configuration_qwen3_vl(shape: Shape, processor: Any) -> Any:
    """A shape as a configuration of Qwen3-VL; three encoder layers feed the language model, spaced as released."""
    from transformers import Qwen3VLConfig

    head = shape.head_size or shape.hidden // shape.heads
    depth = shape.vision_layers
    text = _text(shape, processor) | {"head_dim": head}
    text["rope_parameters"] |= {
        "rope_theta": 5e6,
        "mrope_interleaved": True,
        "mrope_section": mrope_section(head, 1, interleaved=True),
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=_vision(shape)
        | {"patch_size": 16, "deepstack_visual_indexes": sorted({depth * part // 10 for part in (3, 6, 9)})},
        **token_ids(processor.tokenizer),
        tie_word_embeddings=shape.tied,
    )


def _text(shape: Shape, processor: Any) -> dict[str, Any]:
    """The language model's widths and special ids, in the words that both families share."""
    tokenizer = processor.tokenizer
    end, pad = (tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("im_end", "endoftext"))
    return {
        "vocab_size": max(shape.vocabulary, len(tokenizer)),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": pad,
        "eos_token_id": end,
        "pad_token_id": pad,
        "rope_parameters": {"rope_type": "default"},
    }


def _vision(shape: Shape) -> dict[str, Any]:
    """The encoder's widths."""
    return {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": shape.vision_intermediate,
        "num_heads": shape.vision_heads,
        "out_hidden_size": shape.hidden,
    }


def build_other(family: str, shape: Shape, processor: Any, dtype: str, device: str) -> Any:
    """A random model of a family (model_type) with a shape's width, depth and heads; MLPs are three times as wide."""
    import torch

    from tasks.core.backbones import backbone_of
    from tasks.core.train.prepare import prepare

    sizes = {"hidden_size": shape.hidden, "layers": shape.layers, "heads": shape.heads}
    model = backbone_of(family).tiny_model(processor, **sizes, vision_layers=shape.vision_layers, seed=0)
    return prepare(model.to(device, getattr(torch, dtype)))
