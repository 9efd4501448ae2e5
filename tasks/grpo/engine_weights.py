"""The policy's weights in a rollout engine: which version they are, and whether they are the policy's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

LANGUAGE = "language_model."


class Checksummed:
    """Weights on their way into an engine, as an iterator, and the checksum of those that have passed."""

    def __init__(self, weights: Iterator[tuple[str, torch.Tensor]]) -> None:
        self._weights = weights
        self.checksum: dict[str, float] = {}

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[str, torch.Tensor]:
        name, value = next(self._weights)
        if (short := checked_name(name)) is not None:
            self.checksum[short] = float(value.double().sum())
        return name, value

    def drain(self) -> None:
        """Go through what is left: other processes may wait for this one's part of it."""
        for _ in self:
            pass


def checked_name(name: str) -> str | None:
    """Name from the layer on of a weight that the checksum holds: norms and embeddings of the language model.

    Both sides name them alike behind `language_model.`, but for a `model.` that vLLM puts there.
    """
    _, inside, rest = name.partition(LANGUAGE)
    return rest.removeprefix("model.") if inside and rest.endswith(("norm.weight", "embed_tokens.weight")) else None


def mark(model: Any, version: int) -> None:
    """Write the version of its weights on an engine's model."""
    model.rollout_version = version


def report(model: Any, dtype: str) -> tuple[int, dict[str, float]]:
    """Version and checksum of an engine's model."""
    return getattr(model, "rollout_version", -1), weights_checksum(model, dtype)


def weights_checksum(model: Any, dtype: str) -> dict[str, float]:
    """Sums of the weights that `checked_name` names, cast to `dtype`, of a whole model."""
    named = ((checked_name(name), value) for name, value in model.named_parameters())
    return {
        name: float(value.detach().to(getattr(torch, dtype)).double().sum())
        for name, value in named
        if name is not None
    }
