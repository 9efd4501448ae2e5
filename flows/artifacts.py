"""Files of reports/ and the run's results -> Prefect artifacts. An artifact holds nothing that is not in the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.repro import StageResult
from tasks.core.io.progress import Progress

STAGES_KEY = "video-r1-stages"
BENCHMARK_KEY = "video-r1-benchmark"
REPORT_KEY = "video-r1-report"

Row = dict[str, str | int | float]


def stage_rows(results: Sequence[StageResult], failed: Mapping[str, str], skipped: Sequence[str]) -> list[Row]:
    """One row per stage of the plan: its result and its seconds."""
    rows: list[Row] = [
        {"stage": done.stage, "result": done.result, "seconds": round(done.seconds, 1)} for done in results
    ]
    rows += [{"stage": stage, "result": f"failed: {reason}", "seconds": ""} for stage, reason in failed.items()]
    rows += [{"stage": stage, "result": "not run", "seconds": ""} for stage in skipped]
    return rows


def benchmark_rows(folder: Path) -> list[Row]:
    """One row per model, suite, protocol, frame cap and view from `folder`/*.json; empty where there is no file."""
    rows: list[Row] = []
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text())
        rows += [{"model": report["model"], **_columns(entry)} for entry in report["entries"]]
    return rows


def _columns(entry: Mapping[str, Any]) -> Row:
    """What names an entry, its score with the 95 % interval, and how many questions it rests on."""
    overall = entry["overall"]
    score: Row = {name: _figure(overall[key]) for name, key in (("score", "value"), ("low", "low"), ("high", "high"))}
    names: Row = {name: entry[name] for name in ("benchmark", "subset", "protocol", "frames", "view")}
    return {**names, **score, "scored": entry["scored"], "errors": entry["rows"] - entry["answered"]}


def _figure(value: float | None) -> str | float:
    return "" if value is None else round(value, 4)


class ProgressArtifact:
    """A stage's bar in the Prefect UI, with time left and latest figures: rows of a table, or steps of a training."""

    def __init__(self, stage: str) -> None:
        self._key = f"video-r1-{stage.lower().replace('@', '-').replace('_', '-')}"
        self._id: UUID | None = None
        self._lost = False

    def show(self, progress: Progress) -> None:
        """Make or move the bar. Where the server does not take it, that is said once, and the stage runs on."""
        if self._lost:
            return
        percent = 100 * progress.done / max(1, progress.total)
        try:
            if self._id is None:
                made = create_progress_artifact(progress=percent, key=self._key, description=progress.told())
                assert isinstance(made, UUID)  # not awaited: a task of this flow runs in a thread
                self._id = made
            else:
                update_progress_artifact(artifact_id=self._id, progress=percent, description=progress.told())
        except Exception as error:  # a run of hours is not lost for a picture of it
            self._lost = True
            get_run_logger().warning(f"no progress is shown any more: {' '.join(str(error).split())}")


def publish(stages: list[Row], reports: Path) -> None:
    """Leave the stage table, the benchmark table and the report's tables with the current flow run.

    Args:
        stages: see `stage_rows`.
        reports: the project's reports folder.
    """
    create_table_artifact(key=STAGES_KEY, table=stages, description="What became of each stage")
    if rows := benchmark_rows(reports / "benchmark"):
        create_table_artifact(key=BENCHMARK_KEY, table=rows, description="Benchmark metrics by model")
    tables = reports / "benchmark.md"
    if tables.exists():
        link = (reports / "index.html").resolve().as_uri()
        create_markdown_artifact(key=REPORT_KEY, markdown=f"{tables.read_text()}\n\nFull report: {link}\n")
