"""Checking media files: every file once, in parallel, and no file again that is known by its content.

    stat known (path, size, time of change)   its facts, nothing read
    content known (SHA-256, type, suffix)     hashed only: a copy, a moved or a rendered file
    new                                       hashed and probed

Files are read in children (`core/video/guard.py`): one that hangs or crashes its reader costs itself.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tasks.core.io.progress import tracked
from tasks.core.schemas.records import MANIFEST_SCHEMA
from tasks.core.video import LIMIT_SECONDS, ReaderError, VideoError, file_sha256, guarded
from tasks.core.video.archive import state_of
from tasks.core.video.probe import MediaInfo, probe
from tasks.ingest.facts import KnownMedia, Stat

OK = "ok"
BATCH = 1024
"""Files handed to the threads at once."""


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
    duration_seconds: float | None = None
    status: str = OK


@dataclasses.dataclass
class Work:
    """What checking took."""

    hashed: int = 0
    probed: int = 0


class Checker:
    """Checks files and keeps what it learns."""

    def __init__(self, known: KnownMedia, limit_seconds: float = LIMIT_SECONDS) -> None:
        """Set up.

        Args:
            known: facts of earlier runs; new ones are added.
            limit_seconds: how long a small file may take; see `guarded`.
        """
        self.work = Work()
        self._known, self._limit_seconds = known, limit_seconds
        self._counting = threading.Lock()

    def check(self, medium: Medium) -> MediaRow:
        """Facts of one file; why it does not decode is in `status`."""
        path = Path(medium.path)
        try:
            state = state_of(path)
        except OSError as error:
            return MediaRow(medium.path, medium.data_type, "", 0, status=f"cannot be opened: {error.strerror}")
        except VideoError as error:
            return MediaRow(medium.path, medium.data_type, "", 0, status=error.reason)
        stat = Stat(medium.path, medium.data_type, state.size_bytes, state.mtime_ns)
        unchanged = self._known.by_stat(stat)
        if unchanged is not None:
            return MediaRow(**unchanged)
        try:
            digest = guarded(file_sha256, path, limit_seconds=self._limit_seconds)
        except VideoError as error:
            return MediaRow(medium.path, medium.data_type, "", state.size_bytes, status=error.reason)
        self._count(hashed=1)
        facts = self._known.by_content(digest, stat)
        if facts is not None:
            row = MediaRow(**{**facts, "path": medium.path})
        else:
            row, is_lasting = self._probe(medium, digest, state.size_bytes)
            if not is_lasting:
                return row
        self._known.add(stat, dataclasses.asdict(row))
        return row

    def _probe(self, medium: Medium, digest: str, size_bytes: int) -> tuple[MediaRow, bool]:
        """The row, and whether it may be kept: a file that took too long may do better on another day."""
        self._count(probed=1)
        try:
            info: MediaInfo = guarded(probe, medium.path, medium.data_type, limit_seconds=self._limit_seconds)
        except VideoError as error:
            row = MediaRow(medium.path, medium.data_type, digest, size_bytes, status=error.reason)
            return row, not isinstance(error, ReaderError)
        return MediaRow(medium.path, medium.data_type, digest, size_bytes, **info._asdict()), True

    def _count(self, hashed: int = 0, probed: int = 0) -> None:
        with self._counting:
            self.work.hashed += hashed
            self.work.probed += probed


def manifest_table(media: Sequence[MediaRow]) -> pa.Table:
    """The manifest, column by column: rows as mappings would take ten times as long."""
    columns = [pa.array([getattr(row, field.name) for row in media], type=field.type) for field in MANIFEST_SCHEMA]
    return pa.Table.from_arrays(columns, schema=MANIFEST_SCHEMA)


def check_media(media: Iterable[Medium], workers: int, checker: Checker) -> dict[Medium, MediaRow]:
    """Check every distinct medium, `workers` at a time; order follows `media`."""
    distinct = list(dict.fromkeys(media))
    rows = _in_threads(distinct, workers, checker)
    return dict(zip(distinct, tracked(rows, total=len(distinct), desc="check media", unit="file"), strict=True))


def _in_threads(media: Sequence[Medium], workers: int, checker: Checker) -> Iterator[MediaRow]:
    # Threads only wait: each has a child process of its own, which reads.
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(media), BATCH):
            yield from pool.map(checker.check, media[start : start + BATCH])
