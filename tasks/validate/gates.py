"""Reading the tables of each gate, and the verdict on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from tasks import paths
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.tables import TableError, check_rows, iter_parts
from tasks.core.schemas import answer_frames, expectations, frames
from tasks.core.schemas.answers import ANSWER_SCHEMA
from tasks.core.schemas.records import (
    COT_SCHEMA,
    MANIFEST_SCHEMA,
    QUARANTINE_SCHEMA,
    RECORD_SCHEMA,
    REJECTED_SCHEMA,
    SFT_SCHEMA,
)

if TYPE_CHECKING:
    from tasks.core.schemas.gx import CheckResult

GATES = ("records", "cot", "sft", "predictions")
NOT_NEEDED_BY_A_CHECKPOINT = ("cot", "sft")
"""Gates of tables that only the training of SFT reads."""
PASS, FAIL, SKIP = "pass", "fail", "skip"


class Gate(NamedTuple):
    """The tables that a gate looks at, and what it expects of them."""

    frames: dict[str, frames.Shards]
    checks: list[expectations.Check]
    keys: dict[str, str]
    """For each frame, the column that names a row in the report."""


NOTHING = Gate({}, [], {})


def open_gate(name: str, *, max_quarantined_share: float, min_rows: int, trains: bool = True) -> Gate:
    """Read the tables of a gate.

    Args:
        name: one of GATES.
        max_quarantined_share: `records` fails above this share of quarantined rows.
        min_rows: fewest rows of a table.
        trains: whether SFT reads the train table; if not, that may be empty.

    Raises:
        TableError: a table is missing or not of its schema.
        KeyError: unknown gate.
    """
    if name == "records":
        tables, keys = _records()
        if not trains:
            tables["tables"] = _without_train(tables["tables"])
        checks = expectations.records_checks(max_quarantined_share=max_quarantined_share, min_rows=min_rows)
        return Gate(tables, checks, keys)
    read, expected = {
        "cot": (_cot, expectations.cot_checks),
        "sft": (_sft, expectations.sft_checks),
        "predictions": (_predictions, expectations.predictions_checks),
    }[name]
    tables, keys = read()
    return Gate(tables, expected(min_rows=min_rows), keys)


def report_of(name: str, gate: Gate, results: Sequence[CheckResult], *, verdict: str | None = None) -> dict[str, Any]:
    """JSON report: the same tables give the same report, so nothing in it tells one run from another.

    `verdict` overrules what the results say.
    """
    failed = [result for result in results if not result.success]
    critical = [result.name for result in failed if result.severity == expectations.CRITICAL]
    return {
        "gate": name,
        "verdict": verdict or (FAIL if critical else PASS),
        "rows": {name: frame.rows for name, frame in gate.frames.items()},
        "checks": len(results),
        "failed_critical": critical,
        "failed_warning": [result.name for result in failed if result.severity == expectations.WARNING],
        "results": [
            {
                "check": result.name,
                "frame": result.frame,
                "severity": result.severity,
                "success": result.success,
                "observed": result.observed,
                "first_failing": result.failing,
            }
            for result in results
        ],
    }


def _without_train(counts: frames.Shards) -> frames.Shards:
    return frames.Shards(lambda: (piece[piece["name"] != "train"] for piece in counts))


def _parts(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    return iter_parts(path, wanted, frames.ROWS_READ)


def _records() -> tuple[dict[str, frames.Shards], dict[str, str]]:
    tables = {
        "train": partial(_parts, paths.TRAIN_RECORDS, RECORD_SCHEMA),
        "rl": partial(_parts, paths.RL_RECORDS, RECORD_SCHEMA),
        "test": partial(_parts, paths.TEST_RECORDS, RECORD_SCHEMA),
    }
    manifest = partial(_parts, paths.MANIFEST, MANIFEST_SCHEMA)
    quarantine = partial(_parts, paths.QUARANTINE, QUARANTINE_SCHEMA)
    keys = {"records": "row_name", "ids": "row_name", "manifest": "path", "files": "path", "tables": "name"}
    return frames.records_frames(tables, manifest, quarantine), {**keys, "quarantine": "source"}


def _cot() -> tuple[dict[str, frames.Shards], dict[str, str]]:
    keys = {"cot": "problem_id", "ids": "problem_id", "tables": "name"}
    return frames.cot_frames(partial(_parts, paths.COT, COT_SCHEMA)), keys


def _sft() -> tuple[dict[str, frames.Shards], dict[str, str]]:
    keys = {"sft": "problem_id", "rejected": "row_name", "texts": "problem_id", "tables": "name"}
    rejected = partial(_parts, paths.REJECTED_ROWS, REJECTED_SCHEMA)
    return frames.sft_frames(partial(_parts, paths.SFT_ROWS, SFT_SCHEMA), rejected), keys


def _predictions() -> tuple[dict[str, frames.Shards], dict[str, str]]:
    files = sorted(paths.ANSWERS.glob("*/*.jsonl"))
    if not files:
        raise TableError(f"{paths.ANSWERS}: no logs; run `dvc repro benchmark` first")
    logs = {(file.parent.name, file.stem): _log(file) for file in files}
    return answer_frames.predictions_frames(logs), {"predictions": "row_name", "logs": "log"}


def _log(file: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(file)
    check_rows(rows, ANSWER_SCHEMA, str(file))
    return rows
