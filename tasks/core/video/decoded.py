"""What every way of decoding takes and gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.timeline import Timeline

Chooser = Callable[[Timeline], list[int]]
"""Timeline of the source -> positions of frames to decode; raises ValueError where it cannot choose."""


class Decoded(NamedTuple):
    """Frames of a video, and what the video is."""

    clip: Clip
    timeline: Timeline
    codec: str


def choose_frames(path: Path | str, choose: Chooser, shown: Timeline) -> list[int]:
    """Positions that `choose` names.

    Raises:
        VideoError: it raised ValueError.
    """
    try:
        return choose(shown)
    except ValueError as error:
        raise VideoError(path, str(error)) from error


def assemble(
    path: Path | str, pictures: Sequence[NDArray[np.uint8]], indices: Sequence[int], shown: Timeline, codec: str
) -> Decoded:
    """Pictures (H, W, 3) of the frames `indices` as a clip.

    Raises:
        VideoError: they differ in size.
    """
    try:
        stacked = np.stack(pictures)
    except ValueError as error:
        raise VideoError(path, "frame size changes within the video") from error
    sample_fps = len(indices) / len(shown.starts_seconds) * shown.rate
    seconds = [float(shown.starts_seconds[position]) for position in indices]
    return Decoded(Clip(stacked, list(indices), shown.rate, sample_fps, shown.duration_seconds, seconds), shown, codec)
