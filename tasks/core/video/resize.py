"""Frame sizes that a vision encoder takes: multiples of a side factor within a pixel budget, or one fixed square."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image

from tasks.core.video.clip import Clip

SIDE_FACTOR = 28
MAX_RATIO = 200


def unfit(height: int, width: int) -> str:
    """Why no encoder takes frames of this shape; "" when it does."""
    if max(height, width) > MAX_RATIO * min(height, width):
        return f"{width} x {height} pixels: one side is more than {MAX_RATIO} times the other"
    return ""


def smart_resize(
    height: int, width: int, *, min_pixels: int, max_pixels: int, factor: int = SIDE_FACTOR
) -> tuple[int, int]:
    """Height and width nearest to the given ones, both multiples of `factor`, the ratio nearly kept.

    As published: the budget bounds the rounded size, which goes down when over `max_pixels` and up when under
    `min_pixels`.

    Raises:
        ValueError: one side is more than 200 times the other.
    """
    if reason := unfit(height, width):
        raise ValueError(reason)
    h, w = _near(height, factor), _near(width, factor)
    if h * w > max_pixels:
        beta = math.sqrt(height * width / max_pixels)
        return _down(height / beta, factor), _down(width / beta, factor)
    if h * w < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        return _up(height * beta, factor), _up(width * beta, factor)
    return h, w


def resize_clip(
    clip: Clip, min_pixels: int, max_pixels: int, factor: int = SIDE_FACTOR, fixed_side: int | None = None
) -> Clip:
    """Scale every frame by `smart_resize` (bicubic with antialiasing); a clip already of that size comes back as it is.

    With `fixed_side` every frame becomes a square of that side, whatever its ratio, as encoders of one size are fed.

    Raises:
        ValueError: see `smart_resize`.
    """
    _, height, width, _ = clip.frames.shape
    h, w = smart_resize(height, width, min_pixels=min_pixels, max_pixels=max_pixels, factor=factor)
    if fixed_side is not None:
        h = w = fixed_side
    if (h, w) == (height, width):
        return clip
    scaled = [
        np.asarray(Image.fromarray(frame).resize((w, h), Image.Resampling.BICUBIC), dtype=np.uint8)
        for frame in clip.frames
    ]
    return dataclasses.replace(clip, frames=np.stack(scaled))


def _near(side: float, factor: int) -> int:
    return max(factor, round(side / factor) * factor)


def _down(side: float, factor: int) -> int:
    return max(factor, math.floor(side / factor) * factor)


def _up(side: float, factor: int) -> int:
    return math.ceil(side / factor) * factor
