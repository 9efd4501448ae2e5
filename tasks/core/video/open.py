"""A media file as the model sees it: the one door through which stages open clips."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.core.video.cache import Counts, FrameCache
from tasks.core.video.clip import Clip, VideoError
from tasks.core.video.decode import read_media
from tasks.core.video.resize import SIDE_FACTOR, resize_clip

FOLDER = Path(".cache/frames")

ReadClip = Callable[[str, str], Clip]
"""(path, data type) -> clip as the model is to see it; raises VideoError."""

_CACHES: dict[tuple[Path, float], FrameCache] = {}
"""By folder and limit; their counts last as long as the process."""


def open_clip(
    path: str,
    data_type: str,
    *,
    frames: int,
    fps: float,
    min_frames: int,
    min_pixels: int,
    max_pixels: int,
    side_factor: int = SIDE_FACTOR,
    fixed_side: int | None = None,
    disk_cache_gb: float = 0.0,
) -> Clip:
    """A clip or image, sampled and resized; keyword arguments are `params.Video.opening()` and the model's frame shape.

    Args:
        path: media file.
        data_type: "image" | "video".
        frames: upper bound of frames.
        fps: sampling rate aimed at.
        min_frames: lower bound of frames.
        min_pixels: lower bound of a frame's pixels.
        max_pixels: upper bound of a frame's pixels.
        side_factor: both sides become multiples of it.
        fixed_side: frames become squares of this side, whatever the bounds; None keeps their ratio.
        disk_cache_gb: size of the cache of frames under .cache/frames, GiB; 0 decodes every time.

    Raises:
        VideoError: it does not decode, or one side is absurdly longer than the other.
    """

    def read() -> Clip:
        clip = read_media(path, data_type, frames=frames, fps=fps, min_frames=min_frames)
        try:
            return resize_clip(clip, min_pixels, max_pixels, side_factor, fixed_side)
        except ValueError as error:
            raise VideoError(path, str(error)) from error

    if not disk_cache_gb:
        return read()
    settings: dict[str, Any] = {"type": data_type, "min_pixels": min_pixels, "max_pixels": max_pixels}
    settings |= {"side_factor": side_factor, "fixed_side": fixed_side}
    if data_type != "image":
        settings |= {"frames": frames, "fps": fps, "min_frames": min_frames}
    return _cache(FOLDER.resolve(), disk_cache_gb).get(path, settings, read)


def tell_cache(stage: str) -> None:
    """Print how many entries of the frame cache this process found damaged, if any, among how many.

    No metric holds it: it differs from run to run with what earlier ones left, and outputs must not.
    """
    hits, decoded, damaged = map(sum, zip(Counts(), *(cache.counts for cache in _CACHES.values()), strict=True))
    if damaged:
        print(f"{stage}: frame cache: {damaged} damaged entries made again; {hits} clips found, {decoded} decoded")


def _cache(folder: Path, limit_gb: float) -> FrameCache:
    # setdefault is atomic: threads that come together share one cache and its counts.
    return _CACHES.setdefault((folder, limit_gb), FrameCache(folder, limit_gb, _tell_damage))


def _tell_damage(path: Path | str) -> None:
    print(f"frame cache: {path}: damaged entry, decoded again", file=sys.stderr)
