"""Media files to frames: decord first, PyAV for what decord refuses (GIF, AV1, some damaged files)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import decord
import numpy as np
from decord import DECORDError, VideoReader
from numpy.typing import NDArray
from PIL import Image

from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.sample import frame_count, frame_indices

Chooser = Callable[[int, float], list[int]]
"""(frames in the source, its frames per second) -> ascending positions to decode."""

_BLANK_RATE = 0.0

# What FFmpeg mutters about a damaged file says less than the error that follows.
decord.logging.set_level(decord.logging.QUIET)


def read_clip(path: Path | str, *, frames: int, fps: float, min_frames: int) -> Clip:
    """Sample a video by Video-R1's rule (`sample.py`); decoding uses one thread.

    Raises:
        VideoError: missing, undecodable, or fewer than two frames.
    """

    def choose(total: int, source_fps: float) -> list[int]:
        return frame_indices(total, frame_count(total, source_fps, frames=frames, fps=fps, min_frames=min_frames))

    return decode_frames(path, choose)


def decode_frames(path: Path | str, choose: Chooser) -> Clip:
    """Decode the frames that `choose` names.

    Raises:
        VideoError: missing or undecodable, or `choose` raised ValueError.
    """
    if not Path(path).is_file():
        raise VideoError(path, "no such file")
    try:
        return _decord(path, choose)
    # decord raises RuntimeError when it cannot open a file and its own class later; PyAV has the last word on both.
    except (DECORDError, RuntimeError):
        return _pyav(path, choose)


def read_image(path: Path | str) -> Clip:
    """One RGB frame; transparency is laid on white, and of an animation the first picture is taken.

    Raises:
        VideoError: missing, undecodable or absurdly large.
    """
    if not Path(path).is_file():
        raise VideoError(path, "no such file")
    try:
        with Image.open(path) as image:
            pixels = np.asarray(_on_white(image), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(path, f"not a readable image: {error}") from error
    return Clip(pixels[None], [0], _BLANK_RATE, _BLANK_RATE, 0.0)


def read_media(path: Path | str, data_type: str, *, frames: int, fps: float, min_frames: int) -> Clip:
    """`read_image` or `read_clip`, by the record's `data_type`."""
    if data_type == "image":
        return read_image(path)
    return read_clip(path, frames=frames, fps=fps, min_frames=min_frames)


def plain(error: Exception) -> str:
    """Words of an FFmpeg or system error, without its number and path."""
    return str(getattr(error, "strerror", None) or error)


def _decord(path: Path | str, choose: Chooser) -> Clip:
    reader = VideoReader(str(path), num_threads=1)
    total, rate = len(reader), float(reader.get_avg_fps())
    indices = _chosen(path, choose, total, rate)
    return _clip(reader.get_batch(indices).asnumpy(), indices, total, rate)


def _pyav(path: Path | str, choose: Chooser) -> Clip:
    """Two passes, so that memory holds the chosen frames only: count, then keep."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(path, "no video stream")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            total = sum(1 for _ in container.decode(stream))
        indices = _chosen(path, choose, total, rate)
        wanted = set(indices)
        with av.open(str(path)) as container:
            kept = {
                i: frame.to_ndarray(format="rgb24") for i, frame in enumerate(container.decode(video=0)) if i in wanted
            }
    except (av.FFmpegError, OSError, EOFError) as error:
        raise VideoError(path, f"does not decode: {plain(error)}") from error
    try:
        stacked = np.stack([kept[i] for i in indices])
    except ValueError as error:
        raise VideoError(path, "frame size changes within the video") from error
    return _clip(stacked, indices, total, rate)


def _chosen(path: Path | str, choose: Chooser, total: int, rate: float) -> list[int]:
    try:
        return choose(total, rate)
    except ValueError as error:
        raise VideoError(path, str(error)) from error


def _clip(frames: NDArray[np.uint8], indices: Sequence[int], total: int, rate: float) -> Clip:
    return Clip(frames, list(indices), rate, len(indices) / total * rate, total / rate)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
