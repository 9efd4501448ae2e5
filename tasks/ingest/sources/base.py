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


class Counted:
    """Rows of a file, which are counted once: another source of the same file knows the number."""

    def __init__(self, read: Callable[[], Iterator[RawRow]]) -> None:
        """`read` gives the rows, anew at each call."""
        self._read = read
        self._total: int | None = None

    def __iter__(self) -> Iterator[RawRow]:
        total = 0
        for raw in self._read():
            yield raw
            total += 1
        self._total = total

    def total(self) -> int:
        """How many there are; reads the file if it was not read to the end before."""
        if self._total is None:
            self._total = sum(1 for _ in self._read())
        return self._total


def draw_rows(rows: Counted, limit: int | None, seed: int) -> Iterator[RawRow]:
    """At most `limit` rows, drawn by `seed`, in source order."""
    if limit is None:
        yield from rows
        return
    total = rows.total()
    chosen = set(random.Random(seed).sample(range(total), limit)) if limit < total else range(total)
    if not chosen:
        return
    last = max(chosen)
    for place, raw in enumerate(rows):
        if place in chosen:
            yield raw
        if place == last:
            return
