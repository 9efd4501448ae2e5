"""Raw answers to the per-sample log: scored, sorted, with stable keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.core.rewards import accuracy
from tasks.core.schemas.records import PREDICTION_SCHEMA, VIEWS, Record
from tasks.core.text import is_well_formed


def score_all(
    model: str, records: Sequence[Record], answers: Iterable[Mapping[str, Any]], variant: str
) -> list[dict[str, Any]]:
    """Rows of PREDICTION_SCHEMA, sorted by view and problem.

    Args:
        model: name of the model.
        records: test records; each answer belongs to one of them.
        answers: rows of `answer.answer_all`.
        variant: reward variant, "strict" or "robust".
    """
    by_id = {record.problem_id: record for record in records}
    rows = [score(model, by_id[answer["problem_id"]], answer, variant) for answer in answers]
    return sorted(rows, key=lambda row: (VIEWS.index(row["view"]), row["problem_id"]))


def score(model: str, record: Record, answer: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """One row; an answer that failed has reward None, which is not a wrong answer."""
    row: dict[str, Any] = {
        "model": model,
        "problem_type": record.problem_type,
        "data_type": record.data_type,
        "temporal": record.temporal,
        "skill": record.skill,
        "path": record.path,
        "extracted": "",
        "rule": "",
        "parsed": False,
        "reward": None,
        "well_formed": is_well_formed(answer["completion"]),
        **answer,
    }
    if answer["finish_reason"] != "error":
        found = accuracy(record.problem_type, answer["completion"], record.solution, variant)
        row |= {"extracted": found.extracted, "rule": found.rule, "parsed": found.parsed, "reward": found.value}
    return {name: row[name] for name in PREDICTION_SCHEMA.names}
