"""Floating-point operations of a policy update, counted from shapes; a multiply and an add are two.

A matrix product costs its forward twice again in the backward. Attention's fused backward recomputes the scores:
2.5 forwards; so does the chunked output layer. Norms, rotations and activations are left out.
"""

from __future__ import annotations

from typing import NamedTuple

from tasks.core.sizing.shapes import PATCH_VALUES, PATCHES_PER_TOKEN, Shape, full_attention_layers

LINEAR, ATTENTION, HEAD = 3.0, 3.5, 4.0
"""Forward and backward, in forwards."""
WINDOW_PATCHES = 64
"""Patches of a vision window: 112 x 112 pixels."""


class Load(NamedTuple):
    """What one update puts through the model."""

    tokens: int
    """Through the language model."""
    pairs: int
    """(query, key) pairs attended to in a layer."""
    vision_tokens: int
    """Merged tokens that the encoder makes."""
    frame_tokens: int
    """Merged tokens of one temporal patch."""
    scored: int
    """Tokens that reach the output layer."""


def alone(prompt: int, answer: int, rows: int, vision: int, frame: int, encoded: int, all_scored: bool) -> Load:
    """Load of rows that each hold their prompt; `encoded` vision passes."""
    length = prompt + answer
    scored = rows * (length - 1 if all_scored else answer)
    return Load(rows * length, rows * length * (length + 1) // 2, vision * encoded, frame, scored)


def packed(prompt: int, answer: int, rows: int, vision: int, frame: int) -> Load:
    """Load of one packed row: what an update cannot do without."""
    own = answer - 1
    pairs = prompt * (prompt + 1) // 2 + rows * (own * prompt + own * (own + 1) // 2)
    return Load(prompt + rows * own, pairs, vision, frame, rows * answer)


def operations(shape: Shape, load: Load, head: float = HEAD) -> float:
    """Operations of forward and backward."""
    linear, attention, output = _language(shape, load)
    return LINEAR * linear + ATTENTION * attention + head * output + _vision(shape, load, LINEAR, ATTENTION)


def floor(shape: Shape, load: Load) -> float:
    """Operations of forward and backward with nothing computed twice, output layer included."""
    return operations(shape, load, head=LINEAR)


def recomputed(shape: Shape, load: Load) -> float:
    """Operations that selective checkpointing repeats: two of an MLP's three matrices."""
    language = load.tokens * shape.layers * shape.hidden * shape.intermediate
    patches = load.vision_tokens * PATCHES_PER_TOKEN
    return 2 * 2 * (language + patches * shape.vision_layers * shape.vision_hidden * shape.vision_intermediate)


def forward(shape: Shape, load: Load) -> float:
    """Operations of a forward pass without a backward one."""
    return sum(_language(shape, load)) + _vision(shape, load, 1.0, 1.0)


def _language(shape: Shape, load: Load) -> tuple[float, float, float]:
    """A forward's operations in the text layers' matrices, in their attention, and in the output layer."""
    layer = shape.hidden * (2 * shape.query_width + 2 * shape.key_width + 3 * shape.intermediate)
    linear = 2.0 * layer * shape.layers * load.tokens
    attention = 4.0 * shape.query_width * shape.layers * load.pairs
    return linear, attention, 2.0 * shape.hidden * shape.vocabulary * load.scored


def _vision(shape: Shape, load: Load, matrices: float, attention: float) -> float:
    """Operations of the encoder, its matrices and its attention so many times over."""
    patches = load.vision_tokens * PATCHES_PER_TOKEN
    layer = shape.vision_hidden * (4 * shape.vision_hidden + 3 * shape.vision_intermediate)
    merged = shape.vision_hidden * PATCHES_PER_TOKEN
    linear = 2 * patches * (layer * shape.vision_layers + PATCH_VALUES * shape.vision_hidden)
    linear += 2 * load.vision_tokens * merged * (merged + shape.hidden)
    full = len(full_attention_layers(shape.vision_layers))
    frame = load.frame_tokens * PATCHES_PER_TOKEN
    keys = full * frame + (shape.vision_layers - full) * min(WINDOW_PATCHES, frame)
    return matrices * linear + attention * 4 * shape.vision_hidden * patches * keys
