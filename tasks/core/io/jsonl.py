"""Append-only JSON lines, the log of work in progress: what was written before a crash is kept, a torn tail is not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.core.io.errors import StageError


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
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


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
