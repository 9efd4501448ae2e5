"""All that changes a model in place, in one order."""

from __future__ import annotations

from typing import Any

from tasks.core.backbones import of_model


def prepare(model: Any, *, packed: bool = False, selective: bool = False) -> Any:
    """Make an unwrapped model ready to read, and where asked to train; a second call adds what the first left out.

    1. positions of tokens as released weights were trained, where transformers places them otherwise (a model from
       `load_model` has them)
    2. `packed`: attention over rows that hold several completions, and only predicting tokens leave the last layer
    3. `selective`: blocks that keep fewer activations (`recompute.py`)

    Args:
        model: as loaded; changed in place.
        packed: whether packed rows are to be read.
        selective: whether blocks run parts of themselves again in the backward pass.

    Returns:
        The same model.

    Raises:
        ValueError: `packed`, and the model cannot read packed rows.
    """
    of_model(model).use_positions(model)
    if packed:
        from tasks.core.train.shared_prefix import use_shared_prefix

        use_shared_prefix(model)
    if selective:
        from tasks.core.train.recompute import use_selective_checkpointing

        use_selective_checkpointing(model)
    return model
