"""The mini world's test split as a benchmark, at any frame cap.

File: `test.parquet` in the record schema (`data/ingest`). `official` is the scorer that the filter and the training
use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.benchmark.suites import files
from tasks.benchmark.suites.base import Annotations, Ask, Decoding, Mark, Sample, Suite, SuiteError, unlettered
from tasks.benchmark.suites.video_r1 import SCORED
from tasks.core.prompts.build import user_text
from tasks.core.rewards import accuracy
from tasks.core.schemas.records import RECORD_SCHEMA, record_from_row, truth_of


def mark(sample: Sample, text: str) -> Mark:
    """Score of the project's own rules, robust variant."""
    found = accuracy(sample.extra["problem_type"], text, sample.extra["solution"], "robust")
    return Mark(found.value, found.extracted if found.parsed else "", found.rule)


def ask(sample: Sample) -> Ask:
    """The project's brief wording."""
    return Ask(sample.extra["brief"])


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the split.

    Raises:
        SuiteError: no `test.parquet`, or not of the record schema.
    """
    paths = files.find(folder, ["test.parquet"])
    rows = files.rows_of(paths[0])
    lacking = [name for name in RECORD_SCHEMA.names if rows and name not in rows[0]]
    if lacking:
        raise SuiteError(f"{paths[0]}: no column {', '.join(lacking)}")
    return files.collect(files.numbered(paths[0], rows), _sample, paths)


def _sample(row: Any, where: str) -> Sample:
    record = record_from_row(row)
    time = {True: "temporal", False: "static", None: "unknown"}[record.temporal]
    return Sample(
        sample_id=str(record.problem_id),
        question=record.problem,
        options=unlettered(record.options),
        answer=truth_of(record.solution),
        categories={"problem_type": record.problem_type, "time": time, "skill": record.skill or "unknown"},
        media=(record.path,),
        cluster=record.path,
        problem_type=record.problem_type if record.problem_type in SCORED else None,
        solution=truth_of(record.solution),
        lettered=tuple(record.options),
        extra={
            "problem_type": record.problem_type,
            "solution": record.solution,
            "data_type": record.data_type,
            "brief": user_text(record, "brief"),
        },
    )


SUITE = Suite(
    name="world",
    title="Mini world",
    read=read,
    ask=ask,
    mark=mark,
    decoding=Decoding(0.01, 0.001, 64),
    counts={},
    counted_by="all",
    unwrap=False,
)
