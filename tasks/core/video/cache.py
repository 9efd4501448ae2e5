"""Decoded, sampled and resized frames on disk: a clip is decoded once, whatever stages and epochs look at it.

An entry is named by what decides its pixels: the media file's content, the sampling, the pixel budget and the version
of the code that makes them. It is one file: a line of JSON, then the frames as they lie in memory.

    .cache/frames/3f/3f9a...            entry, spread over 256 folders
    .cache/frames/seen/c1/c104...       content hash of a media file, by its path, size and time of change

Any number of processes and threads may read and write: an entry appears whole under its name or not at all, and a
damaged one is told, counted and made again. Entries used longest ago go when there are too many.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.core.io.atomic import naming
from tasks.core.video.archive import is_media, open_media_file, state_of
from tasks.core.video.clip import Clip, VideoError

VERSION = 4
"""Changes with the code that decodes and resizes: entries, and facts of media, of another version are never read."""
BYTES_PER_GB = 2**30
SWEPT_TO = 0.9
"""Share of the limit that a sweep leaves."""
UNCHECKED = 1 / 16
"""Share of the limit that a process writes before it looks at the whole folder again; others may do so meanwhile."""
STALE_SECONDS = 3600
"""Age of a temporary file whose writer has died."""


class DamagedError(ValueError):
    """An entry that does not hold what was written."""


class Counts(NamedTuple):
    """What became of the clips asked for."""

    hits: int = 0
    decoded: int = 0
    damaged: int = 0
    """Of those decoded: an entry was there and damaged."""


class FrameCache:
    """Clips by content of their file and by settings, at most about `limit_gb` GiB in `folder`."""

    def __init__(self, folder: Path, limit_gb: float, on_damage: Callable[[Path | str], None] = lambda _: None) -> None:
        """Set up.

        Args:
            folder: of the entries; made when the first is written.
            limit_gb: GiB.
            on_damage: told of the media file whose entry was damaged, each time one is found.
        """
        self.counts = Counts()
        self._folder, self._on_damage = folder, on_damage
        self._counting = threading.Lock()
        self._limit = int(limit_gb * BYTES_PER_GB)
        self._room = 0

    def get(self, path: Path | str, settings: Mapping[str, Any], read: Callable[[], Clip]) -> Clip:
        """The clip of a media file under these settings, from `read` when it is not here.

        Args:
            path: the media file.
            settings: everything besides the file that decides the pixels; JSON values.
            read: decodes; what it raises passes through and is not kept.
        """
        try:
            if not is_media(path):
                return read()
            entry = self._entry(path, settings)
        except (OSError, VideoError):
            return read()  # which says what is wrong with the file
        damaged = False
        try:
            clip = load(entry)
        except DamagedError:
            clip, damaged = None, True
            self._on_damage(path)
        self._count(is_hit=clip is not None, damaged=damaged)
        if clip is not None:
            with contextlib.suppress(FileNotFoundError):  # swept away meanwhile
                os.utime(entry)
            return clip
        clip = read()
        self._store(entry, dump(clip))
        return clip

    def _count(self, *, is_hit: bool, damaged: bool) -> None:
        with self._counting:
            hits, decoded, before = self.counts
            self.counts = Counts(hits + is_hit, decoded + (not is_hit), before + damaged)

    def _entry(self, path: Path | str, settings: Mapping[str, Any]) -> Path:
        made_of = json.dumps([VERSION, self._content(Path(path)), settings], sort_keys=True)
        return _sharded(self._folder, hashlib.sha256(made_of.encode()).hexdigest())

    def _content(self, path: Path) -> str:
        """SHA-256 of a file; read again only when its size or time of change is another."""
        identity = json.dumps([str(path.resolve()), *state_of(path)])
        seen = _sharded(self._folder / "seen", hashlib.sha256(identity.encode()).hexdigest())
        with contextlib.suppress(FileNotFoundError):
            if len(known := seen.read_text()) == hashlib.sha256().digest_size * 2:
                return known
        digest = file_sha256(path)
        _write(seen, digest.encode())
        return digest

    def _store(self, entry: Path, data: bytes) -> None:
        if len(data) > self._limit:
            return
        _write(entry, data)
        self._room -= len(data)
        if self._room < 0:
            self._room = int(self._limit * UNCHECKED)
            sweep(self._folder, self._limit, self._room)


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file, or of a member of an archive."""
    with open_media_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dump(clip: Clip) -> bytes:
    """An entry's bytes: header, newline, frames."""
    frames = np.ascontiguousarray(clip.frames)
    facts = {field.name: getattr(clip, field.name) for field in dataclasses.fields(clip) if field.name != "frames"}
    header = {"shape": frames.shape, "crc32": zlib.crc32(frames.data), **facts}
    return json.dumps(header).encode() + b"\n" + frames.tobytes()


def load(entry: Path) -> Clip | None:
    """The clip of an entry; None when there is none.

    Raises:
        DamagedError: it is not what was written; it is removed.
    """
    try:
        with entry.open("rb") as file:
            header = json.loads(file.readline())
            frames = np.empty(header.pop("shape"), dtype=np.uint8)
            whole = file.readinto(frames.reshape(-1).data) == frames.nbytes and not file.read(1)
        if whole and zlib.crc32(frames.data) == header.pop("crc32"):
            return Clip(frames, **header)
    except FileNotFoundError:
        return None
    # Whatever a torn write or a bad disk made of the header: not JSON, not a mapping, other fields, absurd shapes.
    except (ValueError, TypeError, AttributeError, KeyError, MemoryError):
        pass
    entry.unlink(missing_ok=True)
    raise DamagedError(str(entry))


def sweep(folder: Path, limit: int, spare: int = 0) -> None:
    """Remove the entries used longest ago until `folder` holds at most `limit - spare` bytes, if it holds more.

    Args:
        folder: of the cache.
        limit: bytes.
        spare: bytes to be written before the next sweep.
    """
    entries: list[tuple[float, int, Path]] = []
    for file in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):
            state = file.stat()
            if file.suffix == ".tmp":
                if time.time() - state.st_mtime > STALE_SECONDS:
                    file.unlink()
            elif file.is_file():
                entries.append((state.st_mtime, state.st_size, file))
    held = sum(size for _, size, _ in entries)
    if held <= limit - spare:
        return
    for _, size, file in sorted(entries):
        if held <= int(limit * SWEPT_TO) - spare:
            return
        file.unlink(missing_ok=True)
        held -= size


def _sharded(folder: Path, name: str) -> Path:
    return folder / name[:2] / name


def _write(path: Path, data: bytes) -> None:
    """Write under a name of this writer's own, then rename: readers see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
    try:
        with naming(path), os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
