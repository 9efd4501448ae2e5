"""Annotated rows without a teacher: the reasoning comes with the records, or none is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from tasks.core.rewards import accuracy
from tasks.core.schemas.records import CotRow, Record
from tasks.core.text import answer_of

REWARD_VARIANT = "robust"


def given_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Rows of COT_SCHEMA with `process` as the completion, as if a teacher had written it."""
    return [_given_row(record) for record in records]


def given_metrics(rows: Sequence[Mapping[str, Any]], path: str) -> dict[str, Any]:
    """The stage's counts that a given table has; `taken_from` names the file or checkpoint."""
    rewards = [row["reward"] for row in rows]
    return {
        "rows": len(rows),
        "errors": 0,
        "mean_reward": round(fmean(rewards), 4) if rewards else None,
        "mean_tokens": None,
        "taken_from": path,
    }


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
