"""Append-only JSON lines, the log of work in progress: what was written before a crash is kept, a torn tail is not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tasks.core.io.atomic import naming
from tasks.core.io.errors import StageError

SYNC_SECONDS = 1.0


class JsonlError(StageError):
    """A line that is not JSON, before the last one."""


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read every object of a JSON lines file; a missing file is an empty log.

    A last line without its newline that does not parse was torn by a crash and is left out.

    Raises:
        JsonlError: any other line is not a JSON object; names file and line.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _parse(line)
        if row is None:
            if number == len(lines):
                break
            raise JsonlError(f"{path}: line {number}: not a JSON object")
        rows.append(row)
    return rows


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append objects and flush them to disk; a torn tail left by a crash is cut off first.

    Raises:
        ValueError: a row holds NaN or infinity.
    """
    text = "".join(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend_tail(path)
    with naming(path), path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


class JsonlWriter:
    """Appends objects to a file that stays open; a context manager.

    A written row outlives the end of the process, however sudden; of what was written within the last `SYNC_SECONDS`
    a loss of power may take a part.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; a torn tail left by a crash is cut off."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend_tail(path)
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Append an object.

        Raises:
            ValueError: it holds NaN or infinity.
            OSError: no room for it; names the file.
        """
        rest = memoryview((json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n").encode())
        with naming(self._path):
            while rest:  # what fits on a disk that is almost full is written without an error
                rest = rest[self._file.write(rest) :]
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()


def _mend_tail(path: Path) -> None:
    """End the file with a newline, dropping an incomplete last line, so that nothing is glued to it."""
    if not path.exists():
        return
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return
    start = data.rfind(b"\n") + 1
    with path.open("r+b") as file:
        if _parse(data[start:]) is None:
            file.truncate(start)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
