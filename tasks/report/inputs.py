"""Reads the outputs of the other stages. All but the benchmark numbers may be missing: the page then says so."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tasks import paths
from tasks.core.io.documents import read_json, read_yaml
from tasks.core.io.jsonl import read_jsonl
from tasks.core.schemas.answers import TEST_SPLIT, Numbers
from tasks.core.schemas.records import QUARANTINE_SCHEMA, RECORD_SCHEMA
from tasks.report.files import rows_of
from tasks.report.numbers import main_cap, read_numbers

CODE = ("tasks", "flows", "dvc.yaml", "params.yaml")
"""Paths whose edits make the code differ from its commit, for the page's first line."""


class Inputs(NamedTuple):
    """Contents of the page. A missing file is a missing key or an empty list."""

    numbers: dict[str, Numbers]
    """Model -> its benchmark numbers; a model that was not run is absent."""
    cap: int
    """Frame cap of the test split that the main tables show."""
    logs: dict[str, list[dict[str, Any]]]
    """Model -> its answer log of the test split; empty when there is none."""
    metrics: dict[str, dict[str, Any]]
    """Stage -> its metrics.json."""
    ledger: dict[str, Any]
    """Whom GRPO paid; empty where it was not run."""
    audits: dict[str, dict[str, Any]]
    """Audit -> its numbers."""
    curves: dict[str, str]
    """Stage -> text of its curve.csv."""
    verdicts: dict[str, dict[str, Any]]
    """Gate -> its JSON report."""
    test: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    lock: dict[str, Any]
    """Parsed dvc.lock."""
    commit: str
    params_text: str


def read_inputs(models: Iterable[str], frames: int, world: str) -> Inputs:
    """Read all inputs from their places under the working directory.

    Args:
        models: models whose logs are wanted.
        frames: frame cap of the pipeline.
        world: name of the mini models, under which the stage world reports.

    Raises:
        StageError: there are no benchmark numbers, or a file is not what its stage writes.
    """
    numbers = read_numbers(paths.REPORTS / "benchmark")
    return Inputs(
        numbers=numbers,
        cap=main_cap(numbers, frames),
        logs={model: read_jsonl(paths.answers(model) / f"{TEST_SPLIT}.jsonl") for model in models},
        metrics={stage: read_json(path) for stage, path in reports_by_stage("metrics.json", world)},
        ledger=read_json(paths.LEDGER) if paths.LEDGER.exists() else {},
        audits={path.stem: read_json(path) for path in sorted((paths.REPORTS / "audit").glob("*.json"))},
        curves={stage: path.read_text() for stage, path in reports_by_stage("curve.csv", world)},
        verdicts={path.stem: read_json(path) for path in sorted((paths.REPORTS / "validate").glob("*.json"))},
        test=rows_of(paths.TEST_RECORDS, RECORD_SCHEMA),
        quarantine=rows_of(paths.QUARANTINE, QUARANTINE_SCHEMA),
        lock=read_yaml(Path("dvc.lock")),
        commit=commit(),
        params_text=paths.PARAMS.read_text(),
    )


def reports_by_stage(name: str, world: str) -> list[tuple[str, Path]]:
    """Each stage's report of a file name; of the stage world, which reports under several, that under `world`."""
    by_folder = {path.parent.name: path for path in sorted(paths.REPORTS.glob(f"*/{name}"))}
    return [
        ("world" if folder == world else folder, path)
        for folder, path in by_folder.items()
        if folder == world or not re.match(r"world(_|$)", folder)
    ]


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
