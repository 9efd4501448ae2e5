"""Families of models that the pipeline can train: one module each, chosen by config.json's model_type."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from tasks.core.backbones.base import (
    IMAGE,
    KINDS,
    NAMES,
    VIDEO,
    Backbone,
    Block,
    EncodedPrompt,
    FrameShape,
    Patches,
    video_metadata,
)

MODULES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "internvl", "llava_onevision", "smolvlm")
"""Modules of this package that define `BACKBONE`."""

__all__ = [
    "IMAGE",
    "KINDS",
    "MODULES",
    "NAMES",
    "VIDEO",
    "Backbone",
    "Block",
    "EncodedPrompt",
    "FrameShape",
    "Patches",
    "UnknownBackboneError",
    "backbone_of",
    "backbones",
    "of_model",
    "of_processor",
    "video_metadata",
]


class UnknownBackboneError(ValueError):
    """A model_type or processor that no module here knows; the text lists the known ones."""


@cache
def backbones() -> tuple[Backbone, ...]:
    """All families, in the order of `MODULES`."""
    return tuple(importlib.import_module(f"{__name__}.{module}").BACKBONE for module in MODULES)


def backbone_of(model_type: object) -> Backbone:
    """The family of a model_type.

    Raises:
        UnknownBackboneError: none knows it.
    """
    known = {name: backbone for backbone in backbones() for name in backbone.model_types}
    if model_type not in known:
        raise UnknownBackboneError(f"model_type is {model_type!r}; known: {', '.join(sorted(known))}")
    return known[str(model_type)]


def of_model(model: Any) -> Backbone:
    """The family of a loaded model, unwrapped or not."""
    return backbone_of(model.config.model_type)


def of_processor(processor: Any) -> Backbone:
    """The family whose prompts a loaded processor reads; of families that share a processor, the first.

    Raises:
        UnknownBackboneError: none has it.
    """
    name = type(processor).__name__
    for backbone in backbones():
        if name in backbone.processors:
            return backbone
    raise UnknownBackboneError(f"processor {name}; known: {', '.join(p for b in backbones() for p in b.processors)}")
