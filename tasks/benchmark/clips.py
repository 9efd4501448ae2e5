"""Finding a sample's clip and reading it as the model sees it: whole, a part of it, or a folder of pictures."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from tasks.benchmark.base import Sample
from tasks.benchmark.settings import FrameSampling
from tasks.core.video import Clip, VideoError, open_clip, read_image, resize_clip, shuffle_clip, shuffle_order
from tasks.core.video.decode import decode_frames
from tasks.core.video.sample import frame_count, frame_indices

SUFFIXES = (".mp4", ".MP4", ".webm", ".mkv", ".avi", ".mov", ".gif")
_EDGE_BYTES = 1 << 16


def locate(sample: Sample, root: Path | None) -> Path | None:
    """The sample's clip, its suffix exchanged where the annotated one is not there; None if missing.

    Args:
        sample: a question.
        root: media folder; a path that leaves it is not looked at. None opens paths as they stand, which only those
            may that ingest has checked: the test split's.
    """
    for place in sample.media:
        if root is not None and (Path(place).is_absolute() or ".." in Path(place).parts):
            continue
        path = Path(place) if root is None else root / place
        if path.exists():
            return path
        for suffix in SUFFIXES:
            if (other := path.with_suffix(suffix)).is_file():
                return other
    return None


def stamp(path: Path | None) -> str:
    """What a clip is, cheaply: its size and its first and last 64 KiB, or a folder's file names and sizes.

    A copy or a touched file keeps its stamp, so that answers stay valid when data are moved.
    """
    if path is None:
        return "missing"
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.iterdir()):
            digest.update(f"{file.name}\0{file.stat().st_size}\n".encode())
        return digest.hexdigest()[:16]
    size = path.stat().st_size
    with path.open("rb") as stream:
        digest.update(f"{size}\0".encode() + stream.read(_EDGE_BYTES))
        if size > _EDGE_BYTES:
            stream.seek(max(_EDGE_BYTES, size - _EDGE_BYTES))
            digest.update(stream.read())
    return digest.hexdigest()[:16]


def read_sample(
    sample: Sample, path: Path, sampling: FrameSampling, *, windowed: bool, disk_cache_gb: float = 0.0
) -> Clip:
    """The sample's clip, sampled and resized; with `windowed`, its annotated part alone.

    Whole files go through the frame cache when it has a size; parts and folders of pictures are read each time.

    Raises:
        VideoError: it does not decode, or the part holds fewer than two frames.
    """
    window = sample.window if windowed else None
    if path.is_dir():
        clip = _read_folder(path, sample.frame_rate or sampling.fps, sampling, window)
    elif window is not None:
        clip = _read_part(path, sampling, window)
    else:
        return open_clip(str(path), sample.data_type, **sampling._asdict(), disk_cache_gb=disk_cache_gb)
    try:
        return resize_clip(clip, sampling.min_pixels, sampling.max_pixels)
    except ValueError as error:
        raise VideoError(path, str(error)) from error


def show(clip: Clip, view: str, seed: int) -> Clip | None:
    """What the model is shown: the clip, the clip out of order (never the true order), or nothing.

    Raises:
        ValueError: unknown view, or a clip too short to shuffle.
    """
    if view == "ordered":
        return clip
    if view == "no_video":
        return None
    if view == "shuffled":
        if len(clip.frames) < 2:
            raise ValueError("a clip of one frame has no order to shuffle")
        return shuffle_clip(clip, shuffle_order(len(clip.frames), seed))
    raise ValueError(f"unknown view {view!r}")


def part(total: int, rate: float, window: tuple[float, float]) -> tuple[int, int]:
    """First and last frame of a part given in seconds, within the clip.

    Raises:
        ValueError: the part lies outside the clip or holds fewer than two frames.
    """
    first, last = max(0, round(window[0] * rate)), min(total - 1, round(window[1] * rate))
    if last - first < 1:
        raise ValueError(f"part {window[0]}-{window[1]} s of a clip of {total / rate:.2f} s has no two frames")
    return first, last


def _read_part(path: Path, sampling: FrameSampling, window: tuple[float, float]) -> Clip:
    def choose(total: int, rate: float) -> list[int]:
        if not rate > 0:
            raise ValueError(f"frame rate {rate}")
        return _within(part(total, rate, window), rate, sampling)

    clip = decode_frames(path, choose)
    return _rescaled(clip)


def _read_folder(path: Path, rate: float, sampling: FrameSampling, window: tuple[float, float] | None) -> Clip:
    pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    try:
        span = part(len(pictures), rate, window) if window else (0, len(pictures) - 1)
        indices = _within(span, rate, sampling)
        frames = np.stack([read_image(pictures[index]).frames[0] for index in indices])
    except ValueError as error:
        raise VideoError(path, f"folder of {len(pictures)} pictures: {error}") from error
    return _rescaled(Clip(frames, indices, rate, rate, len(pictures) / rate))


def _within(span: tuple[int, int], rate: float, sampling: FrameSampling) -> list[int]:
    """Video-R1's sampling rule on the frames first..last."""
    first, total = span[0], span[1] - span[0] + 1
    count = frame_count(total, rate, frames=sampling.frames, fps=sampling.fps, min_frames=sampling.min_frames)
    return [first + index for index in frame_indices(total, count)]


def _rescaled(clip: Clip) -> Clip:
    """The clip with the sampling rate of its part: what M-RoPE's time scale is made of."""
    span = clip.indices[-1] - clip.indices[0] + 1
    return dataclasses.replace(clip, sample_fps=len(clip.indices) / span * clip.source_fps)
