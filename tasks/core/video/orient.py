"""Decoded frames as a player shows them: RGB, turned as the file says, with square pixels."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

NEARLY_SQUARE = 0.02
"""Pixels off square by less, from rounded sizes, stay as they are."""
STRANGEST_ASPECT = 8
"""Beyond this a pixel's shape is a fault of the header and not of the picture."""

BITS = 8

_MATRIX = struct.Struct("<9i")


class Painter:
    """Frames of one video to (H, W, 3) uint8.

    Pixels that are not square are stretched along their longer side, so that nothing is lost and shapes are true.
    """

    def __init__(self, pixel_aspect: Fraction | None) -> None:
        """Set up.

        Args:
            pixel_aspect: width of a pixel by its height; None when the file does not say.
        """
        self._reformatter = VideoReformatter()
        self._aspect = usable_aspect(pixel_aspect)

    def paint(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """One frame as a player shows it."""
        width, height = square_size(frame.width, frame.height, self._aspect)
        flags = _conversion(frame, width, height)
        rgb = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=flags, threads=1
        )
        return turned(rgb.to_ndarray().astype(np.uint8, copy=False), display_matrix(frame))


def usable_aspect(aspect: Fraction | None) -> float:
    """A pixel's width by its height; 1 where the file does not say, is nearly square or makes no sense."""
    ratio = float(aspect) if aspect else 1.0
    if abs(ratio - 1) <= NEARLY_SQUARE or not 1 / STRANGEST_ASPECT <= ratio <= STRANGEST_ASPECT:
        return 1.0
    return ratio


def square_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Width and height in square pixels."""
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Where a step right and a step down in the stored picture lead on the screen: (right x, right y, down x, down y).

    Whole steps: a file that asks for a turn by 10 degrees gets the nearest quarter.
    """
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # Side data of a kind that PyAV has no name for, such as Exif of a JPEG.
        matrix = None
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = _MATRIX.unpack(bytes(matrix)[: _MATRIX.size])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def turned(picture: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with its steps led where `matrix` says (`display_matrix`)."""
    right_x, right_y, down_x, down_y = matrix
    if not right_x:
        picture = picture.swapaxes(0, 1)
    if right_x + down_x < 0:
        picture = picture[:, ::-1]
    if right_y + down_y < 0:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _conversion(frame: VideoFrame, width: int, height: int) -> Interpolation:
    """FFmpeg's flags: its fast conversion is exact enough only for eight bits at the stored size."""
    is_deep = any(component.bits > BITS for component in frame.format.components)
    if is_deep or (frame.width, frame.height) != (width, height):
        return Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    return Interpolation.BILINEAR
