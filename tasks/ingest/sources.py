"""Reading a source: rows as they are, one item each, readable or not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.io.errors import StageError

FORMATS = (".json", ".jsonl", ".parquet")


class SourceError(StageError):
    """A source as a whole cannot be read: no such file or folder, or not of its format."""


class RawRow(NamedTuple):
    """One row of a source."""

    row: int
    """Position in the source, from 0."""
    value: Any
    """What the row holds, usually a dict; unchecked."""
    fault: str = ""
    """Why the row could not even be read; "" when it could."""


def read_rows(annotations: Path) -> list[RawRow]:
    """Read a JSON array, JSON lines or parquet file; an unreadable line of JSON lines is one faulty row.

    Raises:
        SourceError: missing file, unknown suffix, or not of its format.
    """
    if not annotations.is_file():
        raise SourceError(f"{annotations}: no such annotation file")
    readers = {".json": _array, ".jsonl": _lines, ".parquet": _parquet}
    suffix = annotations.suffix.lower()
    if suffix not in readers:
        raise SourceError(f"{annotations}: unknown suffix '{suffix}'; one of {', '.join(FORMATS)}")
    return readers[suffix](annotations)


def draw_rows(rows: list[RawRow], limit: int | None, seed: int) -> list[RawRow]:
    """At most `limit` rows, drawn by `seed`, in source order."""
    if limit is None or limit >= len(rows):
        return rows
    chosen = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return [rows[i] for i in chosen]


def _array(path: Path) -> list[RawRow]:
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, list):
        raise SourceError(f"{path}: not a JSON array but {type(values).__name__}")
    return [RawRow(i, value) for i, value in enumerate(values)]


def _lines(path: Path) -> list[RawRow]:
    rows = []
    for i, line in enumerate(line for line in path.read_bytes().splitlines() if line.strip()):
        try:
            rows.append(RawRow(i, json.loads(line)))
        except ValueError as error:
            rows.append(RawRow(i, None, f"not JSON: {error}"))
    return rows


def _parquet(path: Path) -> list[RawRow]:
    try:
        values = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: not parquet: {error}") from error
    return [RawRow(i, value) for i, value in enumerate(values)]
