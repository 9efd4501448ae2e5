"""Rows of a source, and a draw of them."""

from __future__ import annotations

import random

from tasks.core.io.errors import StageError
from tasks.core.io.rows import RawRow


class SourceError(StageError):
    """A source as a whole cannot be read: a setting is missing, or no such folder."""


def draw_rows(rows: list[RawRow], limit: int | None, seed: int) -> list[RawRow]:
    """At most `limit` rows, drawn by `seed`, in source order."""
    if limit is None or limit >= len(rows):
        return rows
    chosen = sorted(random.Random(seed).sample(range(len(rows)), limit))
    return [rows[i] for i in chosen]
