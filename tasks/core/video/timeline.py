"""When a player shows which frame: pure functions on timestamps.

Timestamps count ticks of a stream's time base. Headers lie about rates (1000 frames a second, a mean of a variable
rate), so the rate is taken from the timestamps; the header's is believed where it explains every one of them.

    ticks at 1/1000 s   0 33 67 100     constant: 30 frames a second, rounded to milliseconds
                        0 40 41 900     variable: 4 frames in about 1 s
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.core.video.sample import frame_count, frame_indices

LONGEST_DELAY_FRAMES = 16
"""Frames that a decoder gives back at its end, without the packets that they came from."""
SPAN_TOLERANCE = 0.1
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


class Choice(NamedTuple):
    """Frames to look at."""

    indices: list[int]
    """Positions in the order shown, ascending; one may come twice."""
    span_seconds: float
    """Time that they stand for."""


def timeline(
    ticks: Sequence[float], time_base: Fraction, end: int, header_rates: Iterable[Fraction | None]
) -> Timeline:
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
    measured = Fraction(count - 1) / (Fraction(round(starts[-1])) * time_base)
    for rate in (*header_rates, measured):
        if rate:
            places = np.arange(count) / float(rate * time_base)
            if np.abs(starts - places).max() <= ROUNDING_TICKS + 1e-6:
                return rate
    return None


def usable_ticks(shown_at: Sequence[int | None], decoded_at: Sequence[int | None]) -> list[int] | None:
    """Ascending ticks of decoded frames, in the order in which the decoder gave them; None where there are none.

    AVI knows only when a packet is decoded; the time of showing made up from that is in disorder with B-frames.

    Args:
        shown_at: presentation timestamps; taken where they ascend.
        decoded_at: decoding timestamps, else taken; late by the same for every frame.
    """
    for ticks in (shown_at, decoded_at):
        known = [tick for tick in ticks if tick is not None]
        missing = len(ticks) - len(known)
        if len(known) < 2 or missing > LONGEST_DELAY_FRAMES or None in ticks[: len(known)]:
            continue
        if all(a < b for a, b in pairwise(known)):
            step = sorted(b - a for a, b in pairwise(known))[len(known) // 2 - 1]
            return known + [known[-1] + step * (number + 1) for number in range(missing)]
    return None


def is_span_of(ticks: Sequence[int], time_base: Fraction, rate: Fraction) -> bool:
    """Whether so many frames at this rate last about as long as their timestamps, in whatever order, say."""
    span_seconds = float((max(ticks) - min(ticks)) * time_base)
    return abs((len(ticks) - 1) / float(rate) - span_seconds) <= SPAN_TOLERANCE * span_seconds


def mended_ticks(ticks: Sequence[int]) -> list[float] | None:
    """Timestamps that step back or stand still made ascending; None when none of them steps forward.

    Where they step back, as behind a clip that was joined on, the frame lasts as most do; frames of one timestamp share
    the time to the next one.

        0 40 80 120   0 40 80    0 40 80 120 160 200 240
        0 40 40 120              0 40 80 120
    """
    steps = np.diff(np.asarray(ticks, dtype=np.float64))
    if not (steps > 0).any():
        return None
    usual = float(np.median(steps[steps > 0]))
    steps[steps < 0] = usual
    first = 0
    for place in np.flatnonzero(steps):
        steps[first : place + 1] = steps[place] / (place + 1 - first)
        first = int(place) + 1
    steps[first:] = usual
    return [0.0, *np.cumsum(steps).tolist()]


def sample_times(
    shown: Timeline,
    *,
    frames: int,
    fps: float,
    min_frames: int,
    window_seconds: tuple[float, float] | None = None,
) -> Choice:
    """The frames to look at, by Video-R1's rule (`sample.py`), spread evenly over the video or a part of it.

    At a variable rate the frame on the screen at each moment is taken: one may be taken twice, and many never.

    Raises:
        ValueError: fewer than two frames, or no time between them.
    """
    if not shown.rate > 0:
        raise ValueError(f"frame rate {shown.rate}")
    first, last = part_of(shown, window_seconds)
    total = last - first + 1
    span = total / shown.rate if shown.is_constant else _until(shown, last) - float(shown.starts_seconds[first])
    count = frame_count(total, total / span, frames=frames, fps=fps, min_frames=min_frames)
    if shown.is_constant:
        return Choice([first + position for position in frame_indices(total, count)], span)
    return Choice(on_screen(shown, np.linspace(shown.starts_seconds[first], shown.starts_seconds[last], count)), span)


def part_of(shown: Timeline, window_seconds: tuple[float, float] | None) -> tuple[int, int]:
    """First and last frame of a part; of the whole without a window.

    Raises:
        ValueError: it lies outside the video or holds fewer than two frames.
    """
    final = len(shown.starts_seconds) - 1
    if window_seconds is None:
        return 0, final
    start, end = window_seconds
    if shown.is_constant:
        first, last = max(0, round(start * shown.rate)), min(final, round(end * shown.rate))
    else:
        first, last = on_screen(shown, (start, end)) if start < shown.duration_seconds else (0, 0)
    if last - first < 1:
        raise ValueError(f"part {start}-{end} s of a clip of {shown.duration_seconds:.2f} s has no two frames")
    return first, last


def on_screen(shown: Timeline, moments_seconds: Sequence[float] | NDArray[np.float64]) -> list[int]:
    """Position of the frame on the screen at each moment; before the first and after the last, those."""
    positions = np.searchsorted(shown.starts_seconds, np.asarray(moments_seconds) + 1e-9, side="right") - 1
    return [int(position) for position in np.clip(positions, 0, len(shown.starts_seconds) - 1)]


def _until(shown: Timeline, position: int) -> float:
    """When a frame is gone."""
    after = position + 1
    return float(shown.starts_seconds[after]) if after < len(shown.starts_seconds) else shown.duration_seconds
