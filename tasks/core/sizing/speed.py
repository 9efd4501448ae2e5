"""Seconds by arithmetic: operations over a rate, bytes over a bandwidth. `MEASURED` was measured, the rest was not."""

from __future__ import annotations

from typing import NamedTuple

from tasks.core.sizing.shapes import Model, Shape

HALF = 2
MEASURED = {"3b": 185.0, "7b": 343.0}
"""TFLOP/s of a policy update with all levers, measured on one H200 (reports/perf/gpu-3b.md, gpu-7b.md)."""
H200_TFLOPS = 989.0
LARGE_HIDDEN = 3584
"""Models as wide as 7B or wider reach the 7B model's share of a card's rate, narrower ones the 3B model's."""
BANDWIDTH_SHARE = 0.6
"""Share of a card's memory bandwidth that decoding reaches. Assumed."""
LINK_BYTES = 300e9
"""Bytes a second at which a GPU gathers sharded weights over NVLink. Assumed."""
HOST_SECONDS = 0.045
"""Of a token that transformers decodes: launching its kernels, layer by layer. Assumed."""
SYNC_SECONDS = 1.3
"""Giving an engine new weights. Assumed."""


class Card(NamedTuple):
    """A GPU."""

    name: str
    gib: float
    """Memory that a driver tells."""
    tflops: float | None
    """Dense bfloat16, of its data sheet; None: unknown."""
    bytes_per_second: float | None


CARDS = {
    "h200": Card("H200", 139.8, 989, 4.8e12),
    "h100": Card("H100 80GB", 79.6, 989, 3.35e12),
    "a100": Card("A100 80GB", 79.3, 312, 2.04e12),
    "a100-40": Card("A100 40GB", 39.4, 312, 1.56e12),
    "l40s": Card("L40S 48GB", 45.0, 362, 0.86e12),
    "a6000": Card("RTX A6000 48GB", 48.0, 155, 0.77e12),
    "rtx4090": Card("RTX 4090 24GB", 24.0, 165, 1.01e12),
}
"""By the names that `--gpus` takes."""


def rate(shape: Shape, card: Card) -> float:
    """Operations a second that a card reaches: the share that was measured on an H200.

    Raises:
        ValueError: the card's rate is not known.
    """
    if card.tflops is None:
        raise ValueError(f"{card.name}: rate unknown")
    measured = MEASURED["7b" if shape.hidden >= LARGE_HIDDEN else "3b"]
    return card.tflops * 1e12 * measured / H200_TFLOPS


def decoding_seconds(model: Model, card: Card, *, cards: int, rows: int, context_bytes: float) -> float:
    """A token of each of `rows` completions: weights and their keys and values read once, or computed, what is longer.

    Args:
        model: whole on `cards` cards together.
        card: one of them.
        cards: GPUs of the engine.
        rows: completions decoded at once.
        context_bytes: keys and values of a row.
    """
    if card.bytes_per_second is None:
        raise ValueError(f"{card.name}: bandwidth unknown")
    read = (HALF * model.parameters + rows * context_bytes) / (cards * card.bytes_per_second * BANDWIDTH_SHARE)
    computed = 2 * model.parameters * rows / (cards * rate(model.shape, card))
    return max(read, computed)


def gathering_seconds(model: Model, processes: int) -> float:
    """Gathering a sharded model once."""
    return HALF * model.parameters * (processes - 1) / processes / LINK_BYTES
