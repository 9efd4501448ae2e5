"""Memory of a training process by arithmetic, in bytes: what stays, and what a pass takes on top.

What an activation takes is counted from what PyTorch keeps for the backward pass. It comes within an eighth of what was
measured on a GPU at 3B and 7B widths (reports/perf/gpu-3b.md, gpu-7b.md; `tests/core/sizing` holds them together).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tasks.core.sizing.shapes import PATCHES_PER_TOKEN, Model, Shape

GIB = 2**30
SLACK = 1.1
"""The allocator's fragments: a tenth of everything."""
CONTEXT_BYTES = int(1.5 * GIB)
"""CUDA context, NCCL buffers and kernels of a process."""
WHOLE, HALF = 4, 2
"""Bytes of a float32 and of a bfloat16."""
TRAINED = 16
"""Bytes of a trained parameter: float32 weight and gradient, two moments of AdamW."""

Checkpointing = Literal["full", "selective", "none"]


class Part(NamedTuple):
    """One line of a sum."""

    name: str
    size_bytes: float


class Pass(NamedTuple):
    """What goes through a model at once."""

    tokens: int
    """Through the language model."""
    vision_tokens: int
    """Merged tokens that the encoder makes."""
    scored: int
    """Tokens that reach the output layer."""


class Training(NamedTuple):
    """How a model is trained, as far as memory depends on it."""

    processes: int
    is_sharded: bool
    trained: int
    """Parameters of the model that train."""
    adapter: int = 0
    """Parameters of an adapter; the model's own then stay as they are."""
    has_reference: bool = False
    """A second model beside the policy, as it was."""
    is_half: bool = True
    """Computes in bfloat16."""
    checkpointing: Checkpointing = "none"

    @property
    def width(self) -> int:
        """Bytes of a computed number."""
        return HALF if self.is_half else WHOLE

    @property
    def reference_bytes(self) -> int:
        """Bytes of a parameter of the reference model: sharded, it is kept as it is gathered."""
        return self.width if self.is_sharded else WHOLE


def total(parts: list[Part], *, gpu: bool = True) -> float:
    """Sum of the parts with what no part names."""
    return sum(part.size_bytes for part in parts) * SLACK + (CONTEXT_BYTES if gpu else 0)


def adapter_parameters(shape: Shape, rank: int, *, with_vision: bool) -> int:
    """Parameters of a low-rank adapter of all linear layers: rank times the sides of each matrix."""
    hidden, middle = shape.hidden, shape.intermediate
    text = 2 * (hidden + shape.query_width) + 2 * (hidden + shape.key_width) + 3 * (hidden + middle)
    wide, inner = shape.vision_hidden, shape.vision_intermediate
    vision = (wide + 3 * wide) + 2 * wide + 3 * (wide + inner)
    return rank * (shape.layers * text + (shape.vision_layers * vision if with_vision else 0))


def state_parts(model: Model, how: Training) -> list[Part]:
    """What a process holds all the time."""
    spread = how.processes if how.is_sharded else 1
    frozen_width = HALF if how.adapter and how.is_half else WHOLE
    frozen = model.parameters - how.trained
    parts = [
        Part(
            "weights, gradients, optimizer state",
            (TRAINED * (how.trained + how.adapter) + frozen_width * frozen) / spread,
        )
    ]
    if how.has_reference:
        parts.append(Part("reference model", how.reference_bytes * model.parameters / spread))
    return [*parts, *(_gathered(model, how) if how.is_sharded else _copies(model, how, frozen_width))]


def _gathered(model: Model, how: Training) -> list[Part]:
    """Sharded: whole weights and gradients of what is computed at the moment."""
    largest = max(model.layer, model.output)
    return [
        Part("gathered: two layers", 2 * model.layer * how.width),
        Part("gathered: embedding, output layer", (model.embedding + model.head) * how.width),
        Part("largest gradient, reduced in float32", largest * (how.width + WHOLE)),
    ]


def _copies(model: Model, how: Training, frozen_width: int) -> list[Part]:
    """Not sharded: autocast's copies in half precision, and the buckets that several processes sum gradients in."""
    parts = []
    if how.is_half:
        frozen = model.parameters - how.trained if frozen_width == WHOLE else 0
        if how.checkpointing == "full":
            frozen = min(frozen, model.layer + model.output)
        if how.trained + frozen:
            parts.append(Part("copies in bfloat16 (autocast)", HALF * (how.trained + frozen)))
    if how.processes > 1:
        parts.append(Part("buckets of gradients", WHOLE * (how.trained + how.adapter)))
    return parts


def activation_parts(shape: Shape, load: Pass, how: Training) -> list[Part]:
    """What a forward pass keeps for its backward pass, and what that recomputes at once.

    Of a block is kept: its input alone (`full`); both sums, the first norm, queries, keys, values and the attended
    (`selective`); beside these the norms in float32 and three MLP-wide values (`none`).
    """
    text = _kept(shape.hidden, shape.query_width, shape.key_width, shape.intermediate, how.checkpointing)
    wide = shape.vision_hidden
    vision = _kept(wide, wide, wide, shape.vision_intermediate, how.checkpointing, sums=5)
    patches = load.vision_tokens * PATCHES_PER_TOKEN
    again = {"full": 6, "selective": 2, "none": 0}[how.checkpointing] * shape.hidden
    again += 3 * shape.intermediate if how.checkpointing != "none" else 0
    return [
        Part("kept of the text layers", shape.layers * load.tokens * text * how.width),
        Part("kept of the encoder", shape.vision_layers * patches * vision * how.width),
        Part("a layer recomputed", load.tokens * again * how.width),
        Part("logits in float32", load.scored * shape.vocabulary * WHOLE),
    ]


def _kept(hidden: int, queries: int, keys: int, middle: int, checkpointing: Checkpointing, sums: int = 3) -> int:
    """Numbers that a block keeps of a token."""
    if checkpointing == "full":
        return hidden
    kept = sums * hidden + 2 * queries + 2 * keys
    return kept + (10 * hidden + 3 * middle if checkpointing == "none" else 0)


def cache_bytes(shape: Shape, tokens: int, width: int) -> int:
    """Keys and values of so many tokens."""
    return tokens * shape.layers * 2 * shape.key_width * width


def host_parts(model: Model, how: Training, *, caches_gib: float) -> list[Part]:
    """Main memory of a machine whose processes train.

    Args:
        model: the policy.
        how: `processes` are those of this machine.
        caches_gib: frames and features that each process keeps, GiB.
    """
    loaders = 1 if how.is_sharded else how.processes
    loaded = HALF if how.adapter and how.is_half else WHOLE
    # A process builds its models, a reference model too, before it puts them where they are trained.
    built = loaded + (how.reference_bytes if how.has_reference else 0)
    loading = loaders * built * model.parameters
    # Sharded, the first process gathers weights, then both moments, to write them; else they are written as loaded.
    writing = 2 * WHOLE * how.trained if how.is_sharded else loaded * model.parameters
    return [
        Part("loading, or gathering to write a checkpoint", max(loading, writing)),
        Part("frames and features kept", how.processes * caches_gib * GIB),
        Part("the processes themselves", how.processes * 4 * GIB),
    ]


def checkpoint_bytes(model: Model, how: Training) -> int:
    """A training checkpoint: float32 weights and two moments; of an adapter its own alone."""
    if how.adapter:
        return 12 * how.adapter
    return WHOLE * model.parameters + 8 * how.trained
