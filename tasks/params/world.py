"""Section of the frozen stage world, which makes the mini models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.params.common import Section


class Skill(Section):
    """One step of the curriculum that makes the mini base model and teacher."""

    name: str
    steps: int = Field(ge=1)
    rows: int = Field(ge=1)
    """Rows per step."""
    mix: dict[Literal["caption", "direct", "reason", "shortcut"], Annotated[float, Field(gt=0)]]
    """Kind of row -> share."""
    decay: bool = False
    """Whether the learning rate decays (cosine to 5 %) instead of staying at its peak."""
    after: str | None = None
    """Model that it starts from, saved by an earlier skill; null goes on from the skill before."""
    save_as: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Folder of models/NAME (`world.name`) in which its result is published, and scored."""


class World(Section):
    """The mini models (frozen stage): architecture and curriculum."""

    name: str = Field("world", pattern=r"^world(_[a-z0-9_]+)?$")
    """Folder in models and in reports that the stage makes: one for each architecture, all kept in git."""
    architecture: str = "qwen2_5_vl"
    """model_type of the mini models (`core/backbones`)."""
    hidden_size: int = Field(128, ge=1)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    vision_layers: int = Field(2, ge=1)
    vocabulary: int = Field(600, ge=1)
    muon_lr: float = Field(0.02, gt=0)
    adamw_lr: float = Field(0.003, gt=0)
    curriculum: list[Skill] = []
    eval_rows: int = Field(300, ge=1)
    published_dtype: Literal["float32", "float16"] = "float32"
    """Type of the published weights; they are trained in float32."""
