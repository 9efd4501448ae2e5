"""A media file as the model sees it: the one door through which stages open clips."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tasks.core.video.cache import FrameCache
from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.decode import read_media
from tasks.core.video.resize import resize_clip

FOLDER = Path(".cache/frames")


def open_clip(
    path: str,
    data_type: str,
    *,
    frames: int,
    fps: float,
    min_frames: int,
    min_pixels: int,
    max_pixels: int,
    disk_cache_gb: float = 0.0,
) -> Clip:
    """A clip or image, sampled and resized; the keyword arguments are the fields of `params.Video`.

    Args:
        path: media file.
        data_type: "image" | "video".
        frames: upper bound of frames.
        fps: sampling rate aimed at.
        min_frames: lower bound of frames.
        min_pixels: lower bound of a frame's pixels.
        max_pixels: upper bound of a frame's pixels.
        disk_cache_gb: size of the cache of frames under .cache/frames, GiB; 0 decodes every time.

    Raises:
        VideoError: it does not decode, or one side is absurdly longer than the other.
    """

    def read() -> Clip:
        clip = read_media(path, data_type, frames=frames, fps=fps, min_frames=min_frames)
        try:
            return resize_clip(clip, min_pixels, max_pixels)
        except ValueError as error:
            raise VideoError(path, str(error)) from error

    if not disk_cache_gb:
        return read()
    settings = {"type": data_type, "min_pixels": min_pixels, "max_pixels": max_pixels}
    if data_type != "image":
        settings |= {"frames": frames, "fps": fps, "min_frames": min_frames}
    return _cache(FOLDER.resolve(), disk_cache_gb).get(path, settings, read)


@cache
def _cache(folder: Path, limit_gb: float) -> FrameCache:
    return FrameCache(folder, limit_gb)
