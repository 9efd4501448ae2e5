"""Scores of log rows, by both protocols' scorers; pure, so that a changed rule is applied to old logs in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.benchmark.suites import REGISTRY
from tasks.benchmark.suites.base import Mark, Sample, Suite
from tasks.benchmark.suites.text import bare_answer
from tasks.benchmark.suites.video_r1 import mark as mark_video_r1

NOT_ASKED = Mark(None, "", "")
SCORE_FIELDS = tuple(
    f"{protocol}{field}" for protocol in ("official", "video_r1") for field in ("", "_extracted", "_rule")
)


def scored(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its scores; an answer that could not be had has none, which is not a wrong answer."""
    marks = {"official": NOT_ASKED, "video_r1": NOT_ASKED}
    if not row["error_class"]:
        marks = {"official": official(row), "video_r1": video_r1(row)}
    fields: dict[str, Any] = {}
    for protocol, mark in marks.items():
        fields |= {protocol: mark.value, f"{protocol}_extracted": mark.extracted, f"{protocol}_rule": mark.rule}
    return {**row, **fields}


def official(row: Mapping[str, Any]) -> Mark:
    """The benchmark's own score, by its judge's reply where it has one."""
    suite, sample = REGISTRY[row["benchmark"]], sample_of(row)
    if row["sample_id"].startswith("video_r1/"):
        return Mark(None, "", "not scored: the question is of Video-R1's own file")
    if suite.verdict is not None and row["judge_reply"]:
        return suite.verdict(sample, row["judge_reply"])
    found = suite.mark(sample, official_text(suite, row))
    if suite.unwrap and _tagged(row) and found.value is not None:
        return found._replace(rule=f"tags removed, {found.rule}")
    return found


def official_text(suite: Suite, row: Mapping[str, Any]) -> str:
    """What the official rule gets to read."""
    text = str(row["completion"])
    return row["lead"] + (bare_answer(text) if suite.unwrap else text)


def video_r1(row: Mapping[str, Any]) -> Mark:
    """Video-R1's score."""
    if row["problem_type"] is None:
        return Mark(None, "", "not scored: no question of this protocol")
    return mark_video_r1(row["problem_type"], row["completion"], row["solution"])


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample a row is about, as far as scoring needs it."""
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
        extra=row["extra"],
    )


def _tagged(row: Mapping[str, Any]) -> bool:
    return "</think>" in row["completion"] or "</answer>" in row["completion"]
