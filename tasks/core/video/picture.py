"""Picture files to pixels.

A picture is shown upright (Exif orientation 1 to 8), in eight bits, transparency laid on white:

    16-bit grey                 0..65535 to 0..255
    32-bit integers             as 16-bit where they lie in 0..65535, else lowest to highest
    floats                      0..1 and 0..255 as they are; else lowest to highest; not-a-number is black
    several pages or sizes      the first: of a TIFF's pages, a phone's MPO, an animation
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tasks.core.video.clip import Clip, VideoError, lack_of_file

with contextlib.suppress(ImportError):  # An extra; without it a HEIC file is refused with that reason.
    import pillow_heif

    pillow_heif.register_heif_opener()

ANIMATED = frozenset({"GIF", "WEBP", "AVIF", "PNG"})
"""Formats whose further pictures follow in time; in others (MPO, TIFF, ICO, PSD) they are other pages or sizes."""
HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
FULL_16, FULL_8 = 65535, 255
ORIENTATION = 0x0112
TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By Exif orientation: what makes the picture upright."""
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
SAMPLE_FORMAT, UNSIGNED = 339, 1
"""TIFF tags, which Pillow heeds up to eight bits only."""
HEADS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"RIFF": "RIFF",
}
NO_RATE = 0.0


def read_image(path: Path | str) -> Clip:
    """One RGB frame.

    Raises:
        VideoError: missing, undecodable or absurdly large.
    """
    with open_picture(path) as image:
        pixels = picture_pixels(image)
    return Clip(pixels[None], [0], NO_RATE, NO_RATE, 0.0, [0.0])


@contextmanager
def open_picture(path: Path | str) -> Iterator[Image.Image]:
    """The file opened by Pillow.

    Raises:
        VideoError: missing, not a picture, absurdly large, or Pillow gives up while it is open.
    """
    if lack := lack_of_file(path):
        raise VideoError(path, lack)
    try:
        with Image.open(path) as image:
            if image.format == "EPS":  # Pillow would start Ghostscript, which nobody would end.
                raise VideoError(path, "EPS: a program that draws a picture, which is not run")
            yield image
    except UnidentifiedImageError as error:
        raise VideoError(path, f"not a readable image: {_unknown(Path(path))}") from error
    # Plugins raise what they like about damaged files: RuntimeError, struct.error, IndexError, zlib.error ...
    except VideoError:
        raise
    except Exception as error:
        raise VideoError(path, f"not a readable image: {error or type(error).__name__}") from error


def picture_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The picture upright as (H, W, 3) uint8."""
    image.load()
    turn = TURNS.get(_orientation(image))
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit_grey(image)
    upright = image if turn is None else image.transpose(turn)
    return np.asarray(_on_white(upright), dtype=np.uint8)


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # Whatever a parser makes of damaged Exif; a viewer shows such a picture as it is stored.
        return None


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """A picture of deep grey levels in eight bits, with alpha where one of its levels is marked as transparent."""
    levels, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode == "I" and tags.get(SAMPLE_FORMAT) in (UNSIGNED, (UNSIGNED,)):
        levels = levels.view(np.uint32)  # Pillow takes them as signed.
    grey = eight_bits(levels)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = FULL_8 - grey
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return Image.fromarray(grey)
    return Image.fromarray(np.stack([grey, np.where(levels == clear, 0, FULL_8).astype(np.uint8)], axis=2), "LA")


def eight_bits(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey of 16 or 32 bits or floats (H, W) to uint8, by the range that the head of this module names."""
    levels = np.nan_to_num(grey.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(levels.min(initial=0.0)), float(levels.max(initial=0.0))
    top = float(FULL_16)
    if np.issubdtype(grey.dtype, np.floating):
        top = 1.0 if high <= 1 else float(FULL_8)
    if low < 0 or high > top:
        levels, top = levels - low, high - low
    return np.round(levels * (FULL_8 / top)).astype(np.uint8)


def is_animation(path: Path | str) -> bool:
    """Whether the file holds pictures that follow in time: shown as a video, where MPO or TIFF are one picture.

    Raises:
        VideoError: see `open_picture`.
    """
    with open_picture(path) as image:
        return image.format in ANIMATED and getattr(image, "n_frames", 1) > 1


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _unknown(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(12)
    if not start:
        return "empty file"
    if start[4:8] == b"ftyp" and start[8:12] in HEIC:
        return "HEIC, which needs the package pillow-heif"
    is_avif = start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis")
    if name := "AVIF" if is_avif else HEADS.get(start[:4]) or HEADS.get(start[:3]):
        return f"{name} file that is damaged or of a kind that is not read"
    return "no picture format that is known"
