"""A folder of pictures as a video: benchmarks publish clips as numbered frames."""

from __future__ import annotations

import re
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
        path: folder; the order of the names is the order shown, numbers in them by value: 2.jpg before 10.jpg.
        rate: pictures per second.
        choose: which ones.

    Raises:
        VideoError: too few pictures, or one that cannot be read.
    """
    pictures = sorted(filter(_is_frame, Path(path).iterdir()), key=_natural)
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


def _is_frame(file: Path) -> bool:
    """Hidden files, such as the ._1.jpg that macOS leaves beside 1.jpg, are none."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key: digits by value, the rest as text."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], file.name
