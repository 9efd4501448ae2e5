"""Finding a sample's clip and reading it as the model sees it: whole, a part of it, or a folder of pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tasks.benchmark.base import Sample
from tasks.benchmark.settings import FrameSampling
from tasks.core.video import LIMIT_SECONDS, Clip, archive, open_clip, shuffle_clip, shuffle_order

SUFFIXES = (".mp4", ".MP4", ".webm", ".mkv", ".avi", ".mov", ".gif")
_EDGE_BYTES = 1 << 16


def locate(sample: Sample, root: Path | None) -> Path | None:
    """Path of the sample's clip, with another suffix if the annotated one does not exist; None if missing.

    Args:
        sample: a question.
        root: media folder; a path that leads out of it is ignored. None takes paths as they are, for the test split,
            whose paths ingest has checked.
    """
    for place in sample.media:
        if root is not None and (Path(place).is_absolute() or ".." in Path(place).parts):
            continue
        path = Path(place) if root is None else root / place
        try:
            if path.exists() or archive.is_media(path):
                return path
            for suffix in SUFFIXES:
                if archive.is_media(other := path.with_suffix(suffix)):
                    return other
        except (OSError, ValueError):  # no name of a file: too long, with a null byte
            continue
    return None


def stamp(path: Path | None) -> str:
    """A cheap digest of a clip: its size and its first and last 64 KiB, or a folder's file names and sizes.

    A copied or touched file keeps its stamp, so answers stay valid when data are moved.
    """
    if path is None:
        return "missing"
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.iterdir()):
            digest.update(f"{file.name}\0{file.stat().st_size}\n".encode())
        return digest.hexdigest()[:16]
    size = archive.state_of(path).size_bytes
    with archive.open_media_file(path) as stream:
        digest.update(f"{size}\0".encode() + stream.read(_EDGE_BYTES))
        if size > _EDGE_BYTES:
            stream.seek(max(_EDGE_BYTES, size - _EDGE_BYTES))
            digest.update(stream.read())
    return digest.hexdigest()[:16]


def read_sample(
    sample: Sample,
    path: Path,
    sampling: FrameSampling,
    *,
    windowed: bool,
    disk_cache_gb: float = 0.0,
    read_limit_seconds: float = LIMIT_SECONDS,
) -> Clip:
    """The sample's clip, sampled and resized; with `windowed`, only its annotated part.

    Files go through the frame cache when it has a size; folders of pictures are read each time.

    Raises:
        VideoError: it does not decode, or the part holds fewer than two frames.
    """
    return open_clip(
        str(path),
        sample.data_type,
        **sampling._asdict(),
        window_seconds=sample.window if windowed else None,
        folder_rate=sample.frame_rate,
        disk_cache_gb=disk_cache_gb,
        read_limit_seconds=read_limit_seconds,
    )


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
