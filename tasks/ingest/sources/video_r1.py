"""Video-R1's record format: Video-R1-260k.json, its evaluation files, and any JSON lines or parquet file like them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.core.io.rows import RawRow, read_rows


def read(annotations: Path, media_root: Path) -> Iterator[RawRow]:
    """Rows as they are."""
    return read_rows(annotations)
