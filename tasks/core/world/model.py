"""The mini models: real architectures of about two million weights, each with a byte-level BPE tokenizer of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks.core.backbones import backbone_of, of_processor


def build_processor(architecture: str, corpus: Iterable[str], vocabulary: int = 600) -> Any:
    """Processor of a model_type, its tokenizer trained on `corpus`: at most `vocabulary` tokens, any text encodable."""
    return backbone_of(architecture).tiny_processor(corpus, vocabulary)


def build_model(
    processor: Any,
    *,
    architecture: str | None = None,
    hidden_size: int = 128,
    layers: int = 4,
    heads: int = 4,
    vision_layers: int = 2,
    seed: int = 0,
) -> Any:
    """Randomly initialised model for `processor` (float32). `hidden_size / heads` must be divisible by 16.

    `architecture` is a model_type; None takes the first family whose prompts the processor reads.
    """
    backbone = of_processor(processor) if architecture is None else backbone_of(architecture)
    model = backbone.tiny_model(
        processor, hidden_size=hidden_size, layers=layers, heads=heads, vision_layers=vision_layers, seed=seed
    )
    backbone.use_positions(model)
    return model
