"""Annotated rows without a teacher: the reasoning comes with the records, or none is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.annotate.annotate import metrics
from tasks.core.rewards import accuracy
from tasks.core.schemas.records import CotRow, Record
from tasks.core.text import answer_of

REWARD_VARIANT = "robust"


def given_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Rows of COT_SCHEMA: what `process` holds is the completion, as if a teacher had just written it."""
    return [_given_row(record) for record in records]


def given_metrics(rows: Sequence[Mapping[str, Any]], path: str) -> dict[str, Any]:
    """The stage's counts; nobody counted tokens, and `taken_from` names the file or checkpoint that stands in."""
    uncounted = {row["problem_id"]: {"tokens": 0} for row in rows}
    return {**metrics(rows, uncounted), "mean_tokens": None, "taken_from": path}


def _given_row(record: Record) -> dict[str, Any]:
    text = record.process
    row = CotRow(
        **dataclasses.asdict(record) | {"process": ""},
        completion=text,
        answer=answer_of(text) or "",
        reward=accuracy(record.problem_type, text, record.solution, REWARD_VARIANT).value,
        finish_reason="stop",
    )
    return dataclasses.asdict(row)
