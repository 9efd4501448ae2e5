"""What every way of decoding takes and gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.timeline import Choice, Timeline

Chooser = Callable[[Timeline], Choice]
"""Timeline of the source -> frames to decode; raises ValueError where it cannot choose."""


class Decoded(NamedTuple):
    """Frames of a video, and what the video is."""

    clip: Clip
    timeline: Timeline
    codec: str


def choose_frames(path: Path | str, choose: Chooser, shown: Timeline) -> Choice:
    """The frames that `choose` names.

    Raises:
        VideoError: it raised ValueError.
    """
    try:
        return choose(shown)
    except ValueError as error:
        raise VideoError(path, str(error)) from error


def assemble(
    path: Path | str, pictures: Sequence[NDArray[np.uint8]], choice: Choice, shown: Timeline, codec: str
) -> Decoded:
    """Pictures (H, W, 3) of the chosen frames as a clip.

    Raises:
        VideoError: they differ in size.
    """
    if len({picture.shape for picture in pictures}) > 1:
        raise VideoError(path, "frame size changes within the video")
    seconds = [float(shown.starts_seconds[position]) for position in choice.indices]
    sample_fps = len(choice.indices) / choice.span_seconds
    clip = Clip(np.stack(pictures), choice.indices, shown.rate, sample_fps, shown.duration_seconds, seconds)
    return Decoded(clip, shown, codec)
