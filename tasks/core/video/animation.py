"""Animated pictures that FFmpeg does not read: WebP, AVIF sequences, APNG, by Pillow. GIF goes through FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from PIL import Image

from tasks.core.video.decoded import Chooser, Decoded, assemble, choose_frames
from tasks.core.video.picture import open_picture, picture_pixels
from tasks.core.video.timeline import Timeline, timeline

MILLISECOND = Fraction(1, 1000)
DEFAULT_MILLISECONDS = 100
"""How long browsers show a picture whose duration is 0."""
HEAD_BYTES = 12


def is_pillow_animation(path: Path | str) -> bool:
    """Whether the file's first bytes are of WebP, AVIF or PNG, which Pillow reads, still or moving."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    is_avif = head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis")
    return is_avif or head.startswith(b"\x89PNG") or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def decode_animation(path: Path | str, choose: Chooser) -> Decoded:
    """Decode the frames that `choose` names.

    Raises:
        VideoError: missing or undecodable, or `choose` raised ValueError.
    """
    with open_picture(path) as image:
        first = int(getattr(image, "default_image", False))
        shown = _timeline(image, first)
        choice = choose_frames(path, choose, shown)
        pictures = {}
        for position in sorted(set(choice.indices)):
            image.seek(first + position)
            pictures[position] = picture_pixels(image)
        codec = (image.format or "").lower()
    return assemble(path, [pictures[position] for position in choice.indices], choice, shown, codec)


def _timeline(image: Image.Image, first: int) -> Timeline:
    """When which picture shows, from `first` on: a PNG may begin with one for programs that know no animation."""
    ticks, now = [], 0
    for position in range(first, getattr(image, "n_frames", 1)):
        image.seek(position)
        image.load()
        ticks.append(now)
        now += round(image.info.get("duration", 0)) or DEFAULT_MILLISECONDS
    return timeline(ticks, MILLISECOND, now, ())
