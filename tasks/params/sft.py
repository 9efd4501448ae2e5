"""Section of the stage sft."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tasks.params.common import Guards, Section


class Sft(Section):
    epochs: float = Field(1.0, gt=0)
    """Passes over the rows that the filter kept."""
    learning_rate: float = Field(1e-6, gt=0)
    batch_size: int = Field(1, ge=1)
    """Rows per device and step."""
    gradient_accumulation: int = Field(1, ge=1)
    """Batches of each device in one step."""
    warmup_ratio: float = Field(0.0, ge=0, le=1)
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(5.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    group_by_length: bool = False
    """Batches of rows of similar length: less padding, less random order."""
    padding_free: bool = True
    """Concatenate the rows of a batch instead of padding them to the longest; the same loss and gradients."""
    train_vision: bool = True
    """Whether the vision encoder's weights train."""
    frame_cache_gb: float = Field(1.0, gt=0)
    """Decoded frames kept in memory, GiB; what falls out is decoded again."""
    cache_features_gb: float = Field(1.0, ge=0)
    """Vision features kept in memory where `train_vision` is false, GiB, so that a medium is encoded once in a run; 0
    encodes it for every row, which FSDP and ZeRO need."""
    save_steps: int = Field(1000, ge=1)
    """Steps between two checkpoints."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the passes and the model written; weights train in float32."""
    guards: Guards = Guards()

    def deciding(self) -> dict[str, Any]:
        """The fields that can change the trained weights by more than rounding.

        Left out: memory and speed; the length of the run (`epochs`); and the rows per device, in whose place the stage
        adds those of all devices.
        """
        rows = {"batch_size", "gradient_accumulation"}
        memory = {"gradient_checkpointing", "frame_cache_gb", "cache_features_gb", "save_steps", "guards"}
        return self.model_dump(exclude={"epochs", *rows, *memory})
