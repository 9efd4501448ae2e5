"""A folder of pictures as a video: benchmarks publish clips as numbered frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from tasks.core.video.clip import VideoError
from tasks.core.video.decoded import Chooser, Decoded, assemble, choose_frames
from tasks.core.video.picture import read_image
from tasks.core.video.timeline import timeline

SUFFIXES = (".jpg", ".jpeg", ".png")


def decode_folder(path: Path | str, rate: float, choose: Chooser) -> Decoded:
    """Read the pictures that `choose` names.

    Args:
        path: folder; the order of the names is the order shown.
        rate: pictures per second.
        choose: which ones.

    Raises:
        VideoError: too few pictures, or one that cannot be read.
    """
    pictures = sorted(file for file in Path(path).iterdir() if file.suffix.lower() in SUFFIXES)
    if not pictures:
        raise VideoError(path, "folder without pictures")
    exact = Fraction(rate).limit_denominator(1001)
    shown = timeline(range(len(pictures)), 1 / exact, len(pictures), (exact,))
    try:
        choice = choose_frames(path, choose, shown)
    except VideoError as error:
        raise VideoError(path, f"folder of {len(pictures)} pictures: {error.reason}") from error
    frames = [read_image(pictures[position]).frames[0] for position in choice.indices]
    return assemble(path, frames, choice, shown, pictures[0].suffix.lower()[1:])
