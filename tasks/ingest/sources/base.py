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


def draw_rows(read: Callable[[], Iterator[RawRow]], limit: int | None, seed: int) -> Iterator[RawRow]:
    """At most `limit` rows, drawn by `seed`, in source order; the source is read twice then, once to count."""
    if limit is None:
        yield from read()
        return
    total = sum(1 for _ in read())
    chosen = set(random.Random(seed).sample(range(total), limit)) if limit < total else range(total)
    if not chosen:
        return
    last = max(chosen)
    for place, raw in enumerate(read()):
        if place in chosen:
            yield raw
        if place == last:
            return
