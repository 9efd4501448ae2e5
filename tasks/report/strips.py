"""Frame strips: a clip as a row of small JPEG pictures inside the page (data URIs)."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

LONGEST_SIDE = 224
"""Pictures are scaled down to this many pixels on their longer side; never up (the page does that, sharply)."""
JPEG_QUALITY = 82


class Frame(NamedTuple):
    """One picture of a strip."""

    uri: str
    label: str
    """Time of the frame in its clip ("1.5 s"); empty for an image."""


def pick(frames: int, count: int) -> list[int]:
    """At most `count` of `frames` positions, evenly spread, first and last among them.

    pick(16, 4) == [0, 5, 10, 15]
    """
    if frames <= count:
        return list(range(frames))
    if count == 1:
        return [frames // 2]
    return [round(i * (frames - 1) / (count - 1)) for i in range(count)]


def strip(frames: np.ndarray, seconds: list[float], count: int) -> list[Frame]:
    """Pictures of up to `count` frames, in the order given.

    Args:
        frames: uint8 array (T, H, W, 3), RGB.
        seconds: Time of each frame in its clip, T long; empty for an image.
        count: Most pictures.
    """
    return [Frame(jpeg_uri(frames[i]), f"{seconds[i]:.1f} s" if seconds else "") for i in pick(len(frames), count)]


def jpeg_uri(frame: np.ndarray, longest_side: int = LONGEST_SIDE) -> str:
    """One uint8 (H, W, 3) RGB frame as a `data:image/jpeg` URI."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    image.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
