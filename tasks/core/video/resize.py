"""Frame sizes the vision encoder takes: multiples of 28 within a pixel budget (Qwen2.5-VL's smart_resize)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image

from tasks.core.video.clip import Clip

SIZE_FACTOR = 28
MAX_RATIO = 200


def smart_resize(height: int, width: int, *, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Height and width nearest to the given ones, both multiples of 28, the ratio nearly kept.

    As published: the budget bounds the rounded size, which goes down when over `max_pixels` and up when under
    `min_pixels`.

    Raises:
        ValueError: one side is more than 200 times the other.
    """
    if max(height, width) > MAX_RATIO * min(height, width):
        raise ValueError(f"{width} x {height} pixels: one side is more than {MAX_RATIO} times the other")
    h, w = _near(height), _near(width)
    if h * w > max_pixels:
        beta = math.sqrt(height * width / max_pixels)
        return _down(height / beta), _down(width / beta)
    if h * w < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        return _up(height * beta), _up(width * beta)
    return h, w


def resize_clip(clip: Clip, min_pixels: int, max_pixels: int) -> Clip:
    """Scale every frame by `smart_resize` (bicubic with antialiasing); a clip already of that size comes back as it is.

    Raises:
        ValueError: see `smart_resize`.
    """
    _, height, width, _ = clip.frames.shape
    h, w = smart_resize(height, width, min_pixels=min_pixels, max_pixels=max_pixels)
    if (h, w) == (height, width):
        return clip
    scaled = [
        np.asarray(Image.fromarray(frame).resize((w, h), Image.Resampling.BICUBIC), dtype=np.uint8)
        for frame in clip.frames
    ]
    return dataclasses.replace(clip, frames=np.stack(scaled))


def _near(side: float) -> int:
    return max(SIZE_FACTOR, round(side / SIZE_FACTOR) * SIZE_FACTOR)


def _down(side: float) -> int:
    return max(SIZE_FACTOR, math.floor(side / SIZE_FACTOR) * SIZE_FACTOR)


def _up(side: float) -> int:
    return math.ceil(side / SIZE_FACTOR) * SIZE_FACTOR
