"""Log lines, records and inputs for the report's tests."""

from __future__ import annotations

from typing import Any

from tasks.benchmark.aggregate import aggregate
from tasks.report.inputs import Inputs
from tasks.report.summary import summary_of

HOSTILE = '<script>alert(1)</script><img src="http://evil.example/x.png"> & "quoted" \'single\' {{ 7 * 7 }}'


def row(problem_id: int = 0, view: str = "ordered", reward: float | None = 1.0, **fields: Any) -> dict[str, Any]:
    """One line of a benchmark log; a reward of None is a question that failed."""
    return {
        "model": "m",
        "view": view,
        "problem_id": problem_id,
        "problem_type": "multiple choice",
        "data_type": "video",
        "temporal": True,
        "skill": "direction",
        "prompt": "p",
        "completion": "<think>t</think><answer>A</answer>",
        "extracted": "A",
        "rule": "letter",
        "parsed": True,
        "reward": reward,
        "well_formed": True,
        "finish_reason": "stop",
        "tokens": 7,
        "error": "" if reward is not None else "does not decode",
        "path": f"{problem_id}.mp4",
    } | fields


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
    } | fields


def inputs_of(logs: dict[str, list[dict[str, Any]]], **fields: Any) -> Inputs:
    """Inputs whose benchmark numbers are aggregated from `logs`."""
    empty = Inputs(
        summaries=[summary_of(aggregate(model, rows), model) for model, rows in logs.items()],
        logs=logs,
        metrics={},
        curves={},
        verdicts={},
        test=[],
        quarantine=[],
        lock={},
        commit="commit abc",
        params_text="seed: 0\n",
    )
    return empty._replace(**fields)
