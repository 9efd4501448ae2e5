"""Reads what the other stages left. Everything but the benchmark numbers may be missing: the page then says so."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import yaml

from tasks import paths
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.tables import read_table
from tasks.core.schemas.records import QUARANTINE_SCHEMA, RECORD_SCHEMA
from tasks.report.summary import ReportError, Summary, summary_of

CODE = ("tasks", "flows", "dvc.yaml", "params.yaml")
"""What makes a working tree differ from its commit, for the page's first line."""


class Inputs(NamedTuple):
    """Everything the page is made of. An absent file is an absent key or an empty list."""

    summaries: list[Summary]
    logs: dict[str, list[dict[str, Any]]]
    """Model -> its benchmark log; empty when there is none."""
    metrics: dict[str, dict[str, Any]]
    """Stage -> its metrics.json."""
    curves: dict[str, str]
    """Stage -> text of its curve.csv."""
    verdicts: dict[str, dict[str, Any]]
    """Validation suite -> its JSON report."""
    test: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    lock: dict[str, Any]
    """Parsed dvc.lock."""
    commit: str
    params_text: str
    suites: dict[str, dict[str, Any]] = {}
    """Model -> its numbers on public benchmarks; a model without any is absent."""


def read_inputs(models: Iterable[str]) -> Inputs:
    """Read all inputs from their places under the working directory.

    Args:
        models: Models whose logs are wanted.

    Raises:
        ReportError: there are no benchmark numbers, or a file is not what its stage writes.
    """
    return Inputs(
        summaries=read_summaries(),
        logs={model: read_jsonl(paths.predictions(model)) for model in models},
        metrics={path.parent.name: _json(path) for path in sorted(paths.REPORTS.glob("*/metrics.json"))},
        curves={path.parent.name: path.read_text() for path in sorted(paths.REPORTS.glob("*/curve.csv"))},
        verdicts={path.stem: _json(path) for path in sorted((paths.REPORTS / "validate").glob("*.json"))},
        test=_table(paths.TEST_RECORDS, RECORD_SCHEMA),
        quarantine=_table(paths.QUARANTINE, QUARANTINE_SCHEMA),
        lock=_yaml(Path("dvc.lock")),
        commit=commit(),
        params_text=paths.PARAMS.read_text(),
        suites=read_suites(),
    )


def read_summaries() -> list[Summary]:
    """Benchmark numbers of every model that was run.

    Raises:
        ReportError: there are none, or one is malformed.
    """
    folder = paths.REPORTS / "benchmark"
    found = sorted(folder.glob("*.json"))
    if not found:
        raise ReportError(f"{folder}: no benchmark results; run `dvc repro benchmark` first")
    return [summary_of(_json(path), str(path)) for path in found]


def read_suites() -> dict[str, dict[str, Any]]:
    """Numbers on public benchmarks of every model that was run on any.

    Raises:
        ReportError: a benchmark report is malformed.
    """
    found = {}
    for path in sorted((paths.REPORTS / "benchmark").glob("*.json")):
        raw = _json(path)
        if suites := raw.get("suites"):
            found[str(raw.get("model", path.stem))] = suites
    return found


def commit() -> str:
    """Commit of the code, and whether it was edited since; says so where there is no repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        edits = subprocess.run(
            ["git", "status", "--porcelain", "--", *CODE], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "not recorded (no git)"
    if head.returncode:
        return "not recorded (no commit)"
    return f"commit {head.stdout.strip()[:12]}" + (", edited since" if edits.stdout.strip() else "")


def _table(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    return read_table(path, schema) if path.exists() else []


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ReportError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ReportError(f"{path}: a JSON object is wanted, got {type(value).__name__}")
    return value


def _yaml(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
