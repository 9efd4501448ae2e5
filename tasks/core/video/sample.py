"""Which frames of a video are looked at: integer arithmetic only.

Video-R1's rule: aim at `fps` frames a second, keep within [min_frames, frames], make it even (one temporal patch holds
two frames), spread them from the first frame to the last.

    source   0 . . . . . . . . 9        10 frames at 5 fps, fps=2
    sampled  0     3     6     9        10 / 5 * 2 = 4 frames, linspace(0, 9, 4)
"""

from __future__ import annotations

import numpy as np

FRAME_FACTOR = 2


def frame_count(total: int, source_fps: float, *, frames: int, fps: float, min_frames: int) -> int:
    """How many of `total` frames to take: even, at least 2, at most `frames` and `total`.

    Raises:
        ValueError: fewer than two frames, or a frame rate that is not positive.
    """
    if total < FRAME_FACTOR:
        raise ValueError(f"{total} frames, at least {FRAME_FACTOR} needed")
    if not source_fps > 0:
        raise ValueError(f"frame rate {source_fps}")
    wanted = max(total / source_fps * fps, _ceil_even(min_frames))
    return _floor_even(int(min(wanted, _floor_even(min(frames, total)))))


def frame_indices(total: int, count: int) -> list[int]:
    """`count` positions spread over 0..total-1, both ends included.

    Reproduces `torch.linspace(0, total - 1, count).round()` in float32, halves to even, without torch.
    """
    if count == 1:
        return [0]
    last = np.float32(total - 1)
    step = last / np.float32(count - 1)
    position = np.arange(count, dtype=np.float32)
    # torch counts the upper half back from the end.
    spread = np.where(np.arange(count) < count // 2, step * position, last - step * position[::-1])
    return [int(i) for i in np.round(spread)]


def _floor_even(n: int) -> int:
    return n // FRAME_FACTOR * FRAME_FACTOR


def _ceil_even(n: int) -> int:
    return -(-n // FRAME_FACTOR) * FRAME_FACTOR
