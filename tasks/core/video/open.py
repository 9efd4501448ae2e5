"""A media file as the model sees it: the one door through which stages open clips.

Every file is read in a child process that can be killed (`guard.py`): what hangs, crashes or raises costs that file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.core.video.archive import is_media, split
from tasks.core.video.cache import Counts, FrameCache
from tasks.core.video.clip import Clip, VideoError, lack_of_file
from tasks.core.video.guard import LIMIT_SECONDS, guarded
from tasks.core.video.picture import is_animation
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
    window_seconds: tuple[float, float] | None = None,
    folder_rate: float | None = None,
    disk_cache_gb: float = 0.0,
    read_limit_seconds: float = LIMIT_SECONDS,
) -> Clip:
    """A clip or image, sampled and resized; keyword arguments are `params.Video.opening()` and the model's frame shape.

    Args:
        path: media file, or a folder whose pictures are a video's frames; a folder is never kept in the cache.
        data_type: "image" | "video".
        frames: upper bound of frames.
        fps: sampling rate aimed at.
        min_frames: lower bound of frames.
        min_pixels: lower bound of a frame's pixels.
        max_pixels: upper bound of a frame's pixels.
        side_factor: both sides become multiples of it.
        fixed_side: frames become squares of this side, whatever the bounds; None keeps their ratio.
        window_seconds: first and last moment of the part to sample; None for the whole.
        folder_rate: pictures of a folder per second; None takes `fps`.
        disk_cache_gb: size of the cache of frames under .cache/frames, GiB; 0 decodes every time.
        read_limit_seconds: how long a small file may take (`guard.py`).

    Raises:
        VideoError: it does not decode, or one side is absurdly longer than the other.
    """
    lack = "" if split(path) else lack_of_file(path)
    if lack and not os.path.isdir(path):
        raise VideoError(path, lack)
    budget = {"min_pixels": min_pixels, "max_pixels": max_pixels, "factor": side_factor, "fixed_side": fixed_side}
    sampling: dict[str, Any] = {"frames": frames, "fps": fps, "min_frames": min_frames}
    if window_seconds is not None:
        sampling["window_seconds"] = window_seconds
    if folder_rate is not None:
        sampling["folder_rate"] = folder_rate

    def read() -> Clip:
        return guarded(read_resized, path, data_type, budget, sampling, limit_seconds=read_limit_seconds)

    if not disk_cache_gb or Path(path).is_dir():
        return read()
    settings = {"type": data_type, **budget, **(sampling if data_type != "image" else {})}
    return _cache(FOLDER.resolve(), disk_cache_gb).get(path, settings, read)


def read_resized(path: str, data_type: str, budget: Mapping[str, Any], sampling: Mapping[str, Any]) -> Clip:
    """`open_clip` without its child and its cache: a file that hangs hangs the caller.

    Args:
        path: media file or folder of pictures.
        data_type: "image" | "video".
        budget: keyword arguments of `resize_clip`.
        sampling: keyword arguments of `read_clip`.
    """
    from tasks.core.video.decode import read_media

    clip = read_media(path, data_type, **sampling)
    try:
        return resize_clip(clip, **budget)
    except ValueError as error:
        raise VideoError(path, str(error)) from error


def open_media(
    path: str,
    data_type: str,
    *,
    frames: int,
    fps: float,
    min_frames: int,
    read_limit_seconds: float = LIMIT_SECONDS,
) -> Clip:
    """A clip or image, sampled, in its own size, read in a child.

    Raises:
        VideoError: it does not decode.
    """
    from tasks.core.video.decode import read_media

    sampling = {"frames": frames, "fps": fps, "min_frames": min_frames}
    return guarded(read_media, path, data_type, limit_seconds=read_limit_seconds, **sampling)


def data_type_of(path: Path | str, read_limit_seconds: float = LIMIT_SECONDS) -> str:
    """How a file is shown: "image" if Pillow reads it and nothing moves (MPO and TIFF are one picture), else "video".

    Raises:
        VideoError: no such file.
    """
    if not is_media(path):
        raise VideoError(path, lack_of_file(path) or "no such file")
    try:
        return "video" if guarded(is_animation, path, limit_seconds=read_limit_seconds) else "image"
    except VideoError:
        return "video"


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
