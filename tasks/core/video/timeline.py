"""When a player shows which frame: pure functions on timestamps.

Timestamps count ticks of a stream's time base. Headers lie about rates (1000 frames a second, a mean of a variable
rate), so the rate is taken from the timestamps; the header's is believed where it explains every one of them.

    ticks at 1/1000 s   0 33 67 100     constant: 30 frames a second, rounded to milliseconds
                        0 40 41 900     variable: 4 frames in about 1 s
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.core.video.sample import frame_count, frame_indices

ROUNDING_TICKS = 1.0
"""How far a timestamp of a constant rate may lie from its place: it is rounded, and so is the first one."""


class Timeline(NamedTuple):
    """The frames of a video in the order shown."""

    starts_seconds: NDArray[np.float64]
    """When each frame appears, from 0, ascending."""
    duration_seconds: float
    """Until the last frame is gone."""
    rate: float
    """Frames per second: the constant one, else the mean."""
    is_constant: bool
    """Whether the frames lie at equal distances."""


def timeline(ticks: Sequence[int], time_base: Fraction, end: int, header_rates: Iterable[Fraction | None]) -> Timeline:
    """Timeline of frames.

    Args:
        ticks: when each frame appears, strictly ascending, at least one.
        time_base: seconds of a tick.
        end: when the last frame is gone; where this is not after the last tick, a frame lasts as the mean of them.
        header_rates: frame rates that the file claims, the most trusted first.
    """
    starts = np.asarray(ticks, dtype=np.float64) - ticks[0]
    rate = constant_rate(starts, time_base, header_rates)
    if rate is not None:
        return Timeline(starts * float(time_base), float(len(ticks) / rate), float(rate), is_constant=True)
    length = end - ticks[0]
    if length <= starts[-1]:
        length = starts[-1] * len(ticks) / max(1, len(ticks) - 1)
    duration = float(length) * float(time_base)
    mean = len(ticks) / duration if duration > 0 else 0.0
    return Timeline(starts * float(time_base), duration, mean, is_constant=False)


def constant_rate(
    starts: NDArray[np.float64], time_base: Fraction, header_rates: Iterable[Fraction | None]
) -> Fraction | None:
    """The rate that explains every timestamp to a tick, one of the header's first; None for a variable rate."""
    count = len(starts)
    if count < 2:
        return next((rate for rate in header_rates if rate), None)
    measured = Fraction(count - 1) / (Fraction(int(starts[-1])) * time_base)
    for rate in (*header_rates, measured):
        if rate:
            places = np.arange(count) / float(rate * time_base)
            if np.abs(starts - places).max() <= ROUNDING_TICKS + 1e-6:
                return rate
    return None


def sample_times(shown: Timeline, *, frames: int, fps: float, min_frames: int) -> list[int]:
    """Positions of the frames to look at, by Video-R1's rule (`sample.py`), spread evenly over time.

    At a variable rate the frame on the screen at each moment is taken: one may be taken twice, and many never.

    Raises:
        ValueError: fewer than two frames, or no time between them.
    """
    total = len(shown.starts_seconds)
    count = frame_count(total, shown.rate, frames=frames, fps=fps, min_frames=min_frames)
    if shown.is_constant:
        return frame_indices(total, count)
    moments = np.linspace(0.0, shown.starts_seconds[-1], count)
    return on_screen(shown, moments)


def on_screen(shown: Timeline, moments_seconds: Sequence[float] | NDArray[np.float64]) -> list[int]:
    """Position of the frame on the screen at each moment; before the first and after the last, those."""
    positions = np.searchsorted(shown.starts_seconds, np.asarray(moments_seconds) + 1e-9, side="right") - 1
    return [int(position) for position in np.clip(positions, 0, len(shown.starts_seconds) - 1)]
