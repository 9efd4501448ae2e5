"""The record every stage speaks, in Video-R1's format, and the parquet schema of each table between stages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

DATA_TYPES = ("image", "video")
PROBLEM_TYPES = ("multiple choice", "numerical", "OCR", "free-form", "regression")
VIEWS = ("ordered", "shuffled", "no_video")
SOLUTION = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One question about one image or clip."""

    problem_id: int
    """Number of the question, unique within its table: the source's own id, moved by 10^12 for each source of the table
    that stands before its source in params.yaml."""
    problem: str
    """Question, without its options."""
    data_type: str
    """image or video."""
    problem_type: str
    """One of PROBLEM_TYPES; decides the prompt suffix and the reward."""
    options: list[str]
    """Lettered options as shown ("A. left"); empty unless multiple choice."""
    process: str
    """Reasoning with its think tags; "" before the filter."""
    solution: str
    """`<answer>truth</answer>`; the letter for multiple choice."""
    path: str
    """In a source: relative to its media root. After ingest: relative to the project root or absolute; opens as is."""
    data_source: str = ""
    temporal: bool | None = None
    """Whether only the order of frames answers it; None when unknown."""
    skill: str = ""
    """Kind of question ("direction", "count"); "" when unknown."""
    source: str = ""
    """Name in `ingest.sources` of where the record comes from; "" before ingest."""


@dataclasses.dataclass(frozen=True, slots=True)
class CotRow(Record):
    """A record with a completion of the teacher; several rows of a question where all samples are kept."""

    completion: str = ""
    """The teacher's whole text."""
    answer: str = ""
    """Inside of its first answer block; "" when there is none."""
    reward: float = 0.0
    """Answer reward in [0, 1]."""
    finish_reason: str = ""
    """stop, length, or error when nothing could be generated."""
    sample: int = 0
    """Number of the completion among those asked of the teacher for this question, from 0."""
    error: str = ""
    """Why there is no completion; empty unless `finish_reason` is error."""


_RECORD_FIELDS = [
    pa.field("problem_id", pa.int64(), nullable=False),
    pa.field("problem", pa.string(), nullable=False),
    pa.field("data_type", pa.string(), nullable=False),
    pa.field("problem_type", pa.string(), nullable=False),
    pa.field("options", pa.list_(pa.string()), nullable=False),
    pa.field("process", pa.string(), nullable=False),
    pa.field("solution", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("data_source", pa.string(), nullable=False),
    pa.field("temporal", pa.bool_()),
    pa.field("skill", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
]
_COT_FIELDS = [
    pa.field("completion", pa.string(), nullable=False),
    pa.field("answer", pa.string(), nullable=False),
    pa.field("reward", pa.float64(), nullable=False),
    pa.field("finish_reason", pa.string(), nullable=False),
    pa.field("sample", pa.int64(), nullable=False),
    pa.field("error", pa.string(), nullable=False),
]

RECORD_SCHEMA = pa.schema(_RECORD_FIELDS)
"""Train, rl and test records."""
COT_SCHEMA = pa.schema(_RECORD_FIELDS + _COT_FIELDS)
"""Annotated records (fields of `CotRow`)."""
SFT_SCHEMA = pa.schema([*_RECORD_FIELDS, pa.field("reward", pa.float64(), nullable=False)])
"""Kept records; `process` is the teacher's `<think>..</think>`."""
REJECTED_SCHEMA = pa.schema(
    [
        *_RECORD_FIELDS,
        *_COT_FIELDS,
        pa.field("rule", pa.string(), nullable=False),
        pa.field("rules", pa.list_(pa.string()), nullable=False),
    ]
)
"""Rejected annotations: the first failing rule, and all of them."""
MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("data_type", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("frames", pa.int64()),
        pa.field("fps", pa.float64()),
        pa.field("width", pa.int64()),
        pa.field("height", pa.int64()),
        pa.field("codec", pa.string()),
        pa.field("duration_seconds", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
    ]
)
"""One row per media file; `status` is "ok" or why it does not decode, and then frames to duration_seconds are null."""
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("problem_id", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""Rows left out by ingest; `row` counts from 0 in the source, `problem_id` is as found (null when absent).

`kind`: record (malformed), path (unsafe or missing), media (does not decode), duplicate (problem_id taken in its
source), repeat (asked before in its table), leak (a held-out question or medium).
"""
OVERLAP_SCHEMA = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("problem_id", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
        pa.field("is_left_out", pa.bool_(), nullable=False),
        pa.field("other_split", pa.string(), nullable=False),
        pa.field("other_source", pa.string(), nullable=False),
        pa.field("other_row", pa.int64(), nullable=False),
        pa.field("other_id", pa.int64(), nullable=False),
    ]
)
"""Rows that ask again what an earlier row of their table asks, and training rows that share something with a held-out
one; `kind` as in `tasks/ingest/overlap.py`, `is_left_out` tells whether the row stands in the quarantine for it."""


def texts_of(record: Record) -> dict[str, str]:
    """Field -> text, of what a model reads of a record or learns to write."""
    return texts_in({name: getattr(record, name) for name in ("problem", "options", "process", "solution")})


def texts_in(fields: Mapping[str, Any]) -> dict[str, str]:
    """The same of a record's fields."""
    options = "\n".join(fields["options"])
    texts = {"problem": fields["problem"], "options": options, "process": fields["process"]}
    return {**texts, "solution": fields["solution"]}


def record_from_row(row: Mapping[str, Any]) -> Record:
    """Record from a row of one of this module's tables; columns a record does not have are left out."""
    return Record(**{field.name: row[field.name] for field in dataclasses.fields(Record)})


def cot_from_row(row: Mapping[str, Any]) -> CotRow:
    """Annotated record from a row of COT_SCHEMA."""
    return CotRow(**{field.name: row[field.name] for field in dataclasses.fields(CotRow)})


def is_reversed(record: Record) -> bool:
    """Whether the record is about its clip played backwards (`pairs.py`): ids of ingest are 0 or more."""
    return record.problem_id < 0


def truth_of(solution: str) -> str:
    """True answer without its tags; "" when there are none."""
    tagged = SOLUTION.search(solution)
    return tagged.group(1).strip() if tagged else ""
