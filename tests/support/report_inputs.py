"""Log lines, records and inputs for the report's tests."""

from __future__ import annotations

from typing import Any

from tasks.benchmark import totals
from tasks.core.schemas.answers import NO_FRAMES
from tasks.report.inputs import Inputs
from tests.support.answers import answer_row

HOSTILE = '<script>alert(1)</script><img src="http://evil.example/x.png"> & "quoted" \'single\' {{ 7 * 7 }}'
CAP = 16
SPLIT = {
    "benchmark": "world",
    "subset": "",
    "protocol": "pipeline",
    "title": "Test split",
    "incomplete": [],
    "published": [],
}
"""What the tables ask of the description of the test split."""


def row(
    problem_id: int = 0,
    view: str = "ordered",
    score: float | None = 1.0,
    *,
    temporal: bool | None = True,
    skill: str = "direction",
    **fields: Any,
) -> dict[str, Any]:
    """One row of a test split's log; a score of None is a question that failed."""
    time = {True: "temporal", False: "static", None: "unknown"}[temporal]
    kind = fields.get("problem_type", "multiple choice")
    error = {"error": "does not decode", "error_class": "unreadable clip"} if score is None else {}
    return answer_row(
        **{
            "model": "m",
            "sample_id": str(problem_id),
            "view": view,
            "frames": NO_FRAMES if view == "no_video" else CAP,
            "categories": {"problem_type": kind, "time": time, "skill": skill},
            "completion": "<think>t</think><answer>A</answer>",
            "pipeline": score,
            "pipeline_extracted": "A",
            "tokens": 7,
        }
        | error
        | fields
    )


def record(problem_id: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "problem_id": problem_id,
        "problem": "Which way?",
        "data_type": "video",
        "problem_type": "multiple choice",
        "options": ["A. left", "B. right"],
        "process": "",
        "solution": "<answer>A</answer>",
        "path": f"{problem_id}.mp4",
        "data_source": "s",
        "temporal": True,
        "skill": "direction",
        "source": "s",
    } | fields


def numbers_of(logs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Numbers of each model's log."""
    return {model: totals.numbers(model, [rows], [SPLIT]) for model, rows in logs.items()}


def inputs_of(logs: dict[str, list[dict[str, Any]]], **fields: Any) -> Inputs:
    """Inputs whose benchmark numbers are summed up from `logs`."""
    empty = Inputs(
        numbers=numbers_of(logs),
        cap=CAP,
        logs=logs,
        metrics={},
        ledger={},
        audits={},
        curves={},
        verdicts={},
        test=[],
        quarantine=[],
        lock={},
        commit="commit abc",
        params_text="seed: 0\n",
    )
    return empty._replace(**fields)
