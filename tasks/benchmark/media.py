"""Finding a sample's clip and reading it as the model sees it: whole, a part of it, or a folder of pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from tasks.benchmark.suites.base import Sample
from tasks.core.video import LIMIT_SECONDS, Clip, open_clip

SUFFIXES = (".mp4", ".MP4", ".webm", ".mkv", ".avi", ".mov", ".gif")
_EDGE_BYTES = 1 << 16


class Sampling(NamedTuple):
    """Which frames, and how large; the fields of `params.Video` and of the model's frame shape."""

    frames: int
    fps: float
    min_frames: int
    min_pixels: int
    max_pixels: int
    side_factor: int = 28
    fixed_side: int | None = None


def locate(sample: Sample, root: Path) -> Path | None:
    """The sample's clip below `root`, its suffix exchanged where the annotated one is not there; None if missing.

    A path that leaves `root` is not looked at.
    """
    for place in sample.media:
        outside = Path(place).is_absolute() or ".." in Path(place).parts
        if outside and "data_type" not in sample.extra:  # The mini world's own paths were checked by ingest.
            continue
        path = root / place
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
    sample: Sample,
    path: Path,
    sampling: Sampling,
    *,
    windowed: bool,
    disk_cache_gb: float = 0.0,
    read_limit_seconds: float = LIMIT_SECONDS,
) -> Clip:
    """The sample's clip, sampled and resized; with `windowed`, its annotated part alone.

    Files go through the frame cache when it has a size; folders of pictures are read each time.

    Raises:
        VideoError: it does not decode, or the part holds fewer than two frames.
    """
    return open_clip(
        str(path),
        str(sample.extra.get("data_type", "video")),
        **sampling._asdict(),
        window_seconds=sample.window if windowed else None,
        folder_rate=sample.frame_rate,
        disk_cache_gb=disk_cache_gb,
        read_limit_seconds=read_limit_seconds,
    )
