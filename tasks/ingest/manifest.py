"""Checking media files: every file once, in parallel; a file that crashes the decoder costs itself only."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from tasks.core.video import VideoError, probe

OK = "ok"
_CRASHED = "the decoder crashed"


class Medium(NamedTuple):
    """A media file and how it is used."""

    path: str
    data_type: str


@dataclasses.dataclass(frozen=True, slots=True)
class MediaRow:
    """One file; the columns of MANIFEST_SCHEMA."""

    path: str
    data_type: str
    sha256: str
    size_bytes: int
    frames: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    status: str = OK


def check_media(media: Iterable[Medium], workers: int) -> dict[Medium, MediaRow]:
    """Hash and probe every distinct medium, `workers` at a time; order follows `media`."""
    distinct = list(dict.fromkeys(media))
    if workers == 1 or len(distinct) < 2:
        rows: Iterator[MediaRow] = map(check_medium, distinct)
        return dict(zip(distinct, tqdm(rows, total=len(distinct), desc="check media", unit="file"), strict=True))
    checked = _in_parallel(distinct, workers)
    for medium in distinct:
        if medium not in checked:
            checked[medium] = _alone(medium)
    return {medium: checked[medium] for medium in distinct}


def check_medium(medium: Medium) -> MediaRow:
    """Hash and probe one file; why it does not decode is in `status`."""
    path = Path(medium.path)
    digest, size = _sha256(path), path.stat().st_size
    try:
        info = probe(path, medium.data_type)
    except VideoError as error:
        return MediaRow(medium.path, medium.data_type, digest, size, status=error.reason)
    return MediaRow(medium.path, medium.data_type, digest, size, *info)


def _in_parallel(media: list[Medium], workers: int) -> dict[Medium, MediaRow]:
    """Check media until done or until a worker dies; what is missing then was not checked."""
    checked: dict[Medium, MediaRow] = {}
    with ProcessPoolExecutor(workers) as pool, tqdm(total=len(media), desc="check media", unit="file") as bar:
        try:
            for medium, row in zip(media, pool.map(check_medium, media, chunksize=8), strict=True):
                checked[medium] = row
                bar.update()
        except BrokenProcessPool:
            bar.write("a worker died on a media file; checking the rest one at a time")
    return checked


def _alone(medium: Medium) -> MediaRow:
    try:
        with ProcessPoolExecutor(1) as pool:
            return pool.submit(check_medium, medium).result()
    except BrokenProcessPool:
        path = Path(medium.path)
        return MediaRow(medium.path, medium.data_type, _sha256(path), path.stat().st_size, status=_CRASHED)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
