"""What a source of records is: a function from its files to rows in Video-R1's record format."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.core.io.errors import StageError
from tasks.core.io.rows import RawRow

Read = Callable[[Path, Path], Iterator[RawRow]]
"""(annotations, media root) -> rows; a row that cannot be read carries its fault. Raises RowsError or SourceError."""


class SourceError(StageError):
    """A source as a whole cannot be read: a setting is missing, or no such folder."""


def draw_rows(rows: list[RawRow], limit: int | None, seed: int) -> list[RawRow]:
    """At most `limit` rows, drawn by `seed`, in source order."""
    if limit is None or limit >= len(rows):
        return rows
    chosen = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return [rows[i] for i in chosen]
