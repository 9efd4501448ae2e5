"""Reading the tables of each gate, and the verdict on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks import paths
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.tables import TableError, check_rows, iter_parts
from tasks.core.schemas import frames, suites
from tasks.core.schemas.answers import ANSWER_SCHEMA
from tasks.core.schemas.records import (
    COT_SCHEMA,
    MANIFEST_SCHEMA,
    QUARANTINE_SCHEMA,
    RECORD_SCHEMA,
    SFT_SCHEMA,
)

if TYPE_CHECKING:
    from tasks.core.schemas.gx import CheckResult

SUITES = ("records", "cot", "sft", "predictions")
NOT_NEEDED_BY_A_CHECKPOINT = ("cot", "sft")
"""Suites over what only a training of SFT reads."""
PASS, FAIL, SKIP = "pass", "fail", "skip"


class Gate(NamedTuple):
    """What one suite looks at, and what it expects."""

    frames: dict[str, frames.Shards]
    checks: list[suites.Check]
    keys: dict[str, str]
    """For each frame, the column that names a row in the report."""


NOTHING = Gate({}, [], {})


def open_gate(suite: str, *, max_quarantined_share: float, min_rows: int, trains: bool = True) -> Gate:
    """Read the tables of a suite.

    Args:
        suite: its name.
        max_quarantined_share: `records` fails above this share of quarantined rows.
        min_rows: fewest rows of a table.
        trains: whether SFT reads the train table; if not, that may be empty.

    Raises:
        TableError: a table is missing or not of its schema.
        KeyError: unknown suite.
    """
    openers = {"records": _records, "cot": _cot, "sft": _sft, "predictions": _predictions}
    if suite == "records":
        checks = suites.records_suite(max_quarantined_share=max_quarantined_share, min_rows=min_rows)
    else:
        checks = getattr(suites, f"{suite}_suite")(min_rows=min_rows)
    tables, keys = openers[suite]()
    if suite == "records" and not trains:
        [counts] = tables["tables"]
        tables["tables"] = frames.whole(counts[counts["name"] != "train"])
    return Gate(tables, checks, keys)


def report_of(suite: str, gate: Gate, results: Sequence[CheckResult], *, verdict: str | None = None) -> dict[str, Any]:
    """JSON report: the same tables give the same report, so nothing in it tells one run from another.

    `verdict` overrules what the results say.
    """
    failed = [result for result in results if not result.success]
    critical = [result.name for result in failed if result.severity == suites.CRITICAL]
    return {
        "suite": suite,
        "verdict": verdict or (FAIL if critical else PASS),
        "rows": {name: frame.rows for name, frame in gate.frames.items()},
        "checks": len(results),
        "failed_critical": critical,
        "failed_warning": [result.name for result in failed if result.severity == suites.WARNING],
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


def _records() -> tuple[dict[str, frames.Shards], dict[str, str]]:
    tables = {
        "train": partial(iter_parts, paths.TRAIN_RECORDS, RECORD_SCHEMA),
        "rl": partial(iter_parts, paths.RL_RECORDS, RECORD_SCHEMA),
        "test": partial(iter_parts, paths.TEST_RECORDS, RECORD_SCHEMA),
    }
    manifest = partial(iter_parts, paths.MANIFEST, MANIFEST_SCHEMA)
    quarantine = partial(iter_parts, paths.QUARANTINE, QUARANTINE_SCHEMA)
    keys = {"records": "row_name", "ids": "row_name", "manifest": "path", "files": "path", "tables": "name"}
    return frames.records_frames(tables, manifest, quarantine), {**keys, "quarantine": "source"}


def _cot() -> tuple[dict[str, frames.Shards], dict[str, str]]:
    keys = {"cot": "problem_id", "ids": "problem_id", "tables": "name"}
    return frames.cot_frames(partial(iter_parts, paths.COT, COT_SCHEMA)), keys


def _sft() -> tuple[dict[str, frames.Shards], dict[str, str]]:
    keys = {"sft": "problem_id", "ids": "problem_id", "texts": "problem_id", "tables": "name"}
    return frames.sft_frames(partial(iter_parts, paths.SFT_ROWS, SFT_SCHEMA)), keys


def _predictions() -> tuple[dict[str, frames.Shards], dict[str, str]]:
    files = sorted(paths.ANSWERS.glob("*/*.jsonl"))
    if not files:
        raise TableError(f"{paths.ANSWERS}: no logs; run `dvc repro benchmark` first")
    logs = {(file.parent.name, file.stem): _log(file) for file in files}
    return frames.predictions_frames(logs), {"predictions": "row_name", "logs": "log"}


def _log(file: Path) -> list[dict[str, Any]]:
    rows = read_jsonl(file)
    check_rows(rows, ANSWER_SCHEMA, str(file))
    return rows
