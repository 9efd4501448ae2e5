"""Frames out of order: what T-GRPO and the benchmark's control compare with.

Eight frames, by unit:
    frame           5 2 7 0 3 6 1 4     any order but the true one
    temporal_patch  4 5 0 1 6 7 2 3     pairs that share a temporal patch stay together, so features can be permuted
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tasks.core.video.clip import Clip
from tasks.core.video.sample import FRAME_FACTOR

UNITS = {"frame": 1, "temporal_patch": FRAME_FACTOR}


def shuffle_order(n: int, seed: int, unit: str = "frame") -> list[int]:
    """Order to show `n` frames in: uniform over all orders of the units except the true one, fixed by `seed`.

    With fewer than two units there is nothing to shuffle and the true order comes back.

    Raises:
        ValueError: unknown unit.
    """
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r}; one of {', '.join(UNITS)}")
    size = UNITS[unit]
    units = [list(range(start, min(start + size, n))) for start in range(0, n, size)]
    random = np.random.default_rng(seed)
    order = list(range(len(units)))
    while len(units) > 1 and order == sorted(order):
        order = [int(i) for i in random.permutation(len(units))]
    return [frame for i in order for frame in units[i]]


def shuffle_clip(clip: Clip, order: Sequence[int]) -> Clip:
    """The clip with its frames in `order`; `indices` and `seconds` follow, the time scale stays.

    Raises:
        ValueError: `order` is not a permutation of the clip's frames.
    """
    if sorted(order) != list(range(len(clip.frames))):
        raise ValueError(f"order {list(order)} is not a permutation of {len(clip.frames)} frames")
    return dataclasses.replace(
        clip,
        frames=clip.frames[list(order)],
        indices=[clip.indices[place] for place in order],
        seconds=[clip.seconds[place] for place in order],
    )
