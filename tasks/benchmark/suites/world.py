"""The test split of `data/ingest` (the mini world's, or your own records): the suite of the protocol `pipeline`.

File: `test.parquet` in the record schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.benchmark.base import Annotations, Sample, Suite, SuiteError, unlettered
from tasks.benchmark.reading import files
from tasks.core.schemas.records import RECORD_SCHEMA, record_from_row, truth_of

TIME = {True: "temporal", False: "static", None: "unknown"}
"""Whether only the order of frames answers a question -> group of the grouping `time`."""


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the split.

    Raises:
        SuiteError: no `test.parquet`, or not of the record schema.
    """
    paths = files.find(folder, ["test.parquet"])
    return files.collect(files.rows_of(paths[0]), _sample, paths)


def _sample(row: Any, where: str) -> Sample:
    if lacking := [name for name in RECORD_SCHEMA.names if name not in row]:
        raise SuiteError(f"{where}: no column {', '.join(lacking)}")
    record = record_from_row(row)
    skill = {"skill": record.skill} if record.skill else {}
    return Sample(
        sample_id=str(record.problem_id),
        question=record.problem,
        options=unlettered(record.options),
        answer=truth_of(record.solution),
        categories={"problem_type": record.problem_type, "time": TIME[record.temporal], **skill},
        media=(record.path,),
        cluster=record.path,
        problem_type=record.problem_type,
        solution=truth_of(record.solution),
        lettered=tuple(record.options),
        data_type="image" if record.data_type == "image" else "video",
    )


SUITE = Suite(
    name="world",
    title="Test split",
    read=read,
    counts={},
    counted_by="all",
    protocols=("pipeline",),
    scorers=("pipeline", "video_r1"),
    controls_by="time",
)
