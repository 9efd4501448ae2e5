"""What commands that make many runs share: a CSV row a run, locks between processes, rendered splits."""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks import paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.schemas.parsing import parse_record
from tasks.core.schemas.records import Record
from tasks.core.world.scene import SHORTCUTS
from tasks.core.world.split import make_split

SPLITS = paths.WORK_DATA / "splits"


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock between processes, freed even by a killed one; yields whether it was got, at once unless `wait`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def read_runs(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; none when there is no file."""
    return list(csv.DictReader(io.StringIO(path.read_text()))) if path.exists() else []


def append(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]], key: Sequence[str]) -> None:
    """Add a run's rows to a CSV file, all or none, in place of any with its `key` that an interrupted command left."""
    with lock(path.parent / ".locks" / path.name, wait=True):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        ours = {tuple(str(row[name]) for name in key) for row in rows}
        others = [row for row in read_runs(path) if tuple(row[name] for name in key) not in ours]
        writer.writerows([*others, *rows])
        write_text(path, text.getvalue())


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers as the CSV files hold them."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def split(
    name: str, rows: int, seed: int, bias: float, workers: int, shortcuts: Sequence[str] = SHORTCUTS
) -> list[Record]:
    """Records of a rendered split of the mini world; rendered once. `name` tells splits of other shortcuts apart."""
    folder = SPLITS / f"{name}-{rows}-{seed}-{bias}"
    marker = folder / "records.json"
    with lock(folder.parent / f"{folder.name}.lock", wait=True):
        if not marker.exists():
            write_json(marker, make_split(folder, rows, seed, bias, workers, f"{name} {seed}", shortcuts))
    raw = json.loads(marker.read_text())
    records = [parse_record(row, f"{marker} row {number}") for number, row in enumerate(raw)]
    return [dataclasses.replace(record, path=str(folder / record.path)) for record in records]
