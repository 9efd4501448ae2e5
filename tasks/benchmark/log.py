"""The answer logs: append-only while answers come in, sorted at the end.

A model's folder holds one `<suite>.jsonl` per suite (`<suite>-<subset>.jsonl`). During a run rows are appended and
flushed batch by batch; a later row of a key replaces an earlier one. At the end `settle` writes only the rows of this
run, in order, and renames the file into place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark.suites import REGISTRY
from tasks.core.io.atomic import replacing
from tasks.core.io.errors import StageError
from tasks.core.io.jsonl import append_jsonl, read_jsonl
from tasks.core.schemas.answers import ANSWER_SCHEMA

Row = dict[str, Any]
_FIELDS = frozenset(ANSWER_SCHEMA.names)


def path_of(folder: Path, suite: str, subset: str) -> Path:
    """Log of one suite, or of a subset of it."""
    return folder / (f"{suite}-{subset}.jsonl" if subset else f"{suite}.jsonl")


def logs_in(folder: Path) -> list[Path]:
    """Every log of a model, by name."""
    return sorted(path for path in folder.glob("*.jsonl") if path.stem.partition("-")[0] in REGISTRY)


def read(path: Path) -> dict[str, Row]:
    """Rows by key, the last of each key; a missing file is an empty log, a half-written last line is left out.

    Raises:
        StageError: a row without the fields of an answer; names file, row and field.
    """
    rows = {}
    for number, row in enumerate(read_jsonl(path)):
        if lacking := sorted(_FIELDS - row.keys()):
            raise StageError(
                f"{path}: row {number}: {lacking[0]}: missing; the log is of another version: remove it to ask anew"
            )
        rows[str(row["key"])] = row
    return rows


def append(path: Path, batches: Iterable[Sequence[Row]]) -> Iterator[Sequence[Row]]:
    """Log batches as they come, and pass them on."""
    for batch in batches:
        append_jsonl(path, batch)
        yield batch


def settle(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write exactly these rows, in this order; after an error the old file is unchanged."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
