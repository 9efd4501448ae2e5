"""Scores of log rows by the scorers of their suite, from the rows alone, so that old logs can be scored again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.benchmark.base import Mark, Sample
from tasks.benchmark.protocols import PROTOCOLS
from tasks.benchmark.suites import REGISTRY

NO_SCORER = Mark(None, "", "")


def scored(row: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """The row with its scores; a question that could not be asked has none, which is not a wrong answer.

    Args:
        row: a log row, with or without scores.
        variant: reward variant of the protocol `pipeline`, "strict" or "robust".
    """
    suite, sample = REGISTRY[row["benchmark"]], sample_of(row)
    fields: dict[str, Any] = {}
    for name, protocol in PROTOCOLS.items():
        reads = name in suite.scorers and not row["error_class"]
        mark = protocol.mark(suite, sample, row, variant) if reads else NO_SCORER
        fields |= {name: mark.value, f"{name}_extracted": mark.extracted, f"{name}_rule": mark.rule}
    return {**row, **fields}


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row, with the fields that scoring needs."""
    return Sample(
        sample_id=row["sample_id"],
        question=row["question"],
        options=tuple(row["options"]),
        answer=row["answer"],
        categories=row["categories"],
        media=(),
        cluster=row["cluster"],
        problem_type=row["problem_type"],
        solution=row["solution"],
        lettered=tuple(row["lettered"]),
        data_type=row["data_type"],
        form=row["form"],
        video=row["video"],
        question_id=row["question_id"],
        caption_question=row["caption_question"],
        caption_answer=row["caption_answer"],
    )
