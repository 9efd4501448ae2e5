"""Rows of the answer log."""

from __future__ import annotations

from typing import Any

from tasks.core.schemas.answers import ANSWER_SCHEMA

COMPLETION = "<think>It goes right.</think><answer>B</answer>"
_EMPTY = {"string": "", "int64": 0, "double": None, "list": [], "map": {}}


def answer_row(**fields: Any) -> dict[str, Any]:
    """A right answer to a question of the test split; `fields` replace its own."""
    empty = {
        field.name: next(value for kind, value in _EMPTY.items() if str(field.type).startswith(kind))
        for field in ANSWER_SCHEMA
    }
    row = empty | {
        "model": "base",
        "benchmark": "world",
        "protocol": "pipeline",
        "frames": 16,
        "view": "ordered",
        "sample_id": "0",
        "form": "official",
        "data_type": "video",
        "categories": {"problem_type": "multiple choice", "time": "temporal", "skill": "direction"},
        "question": "Which way?",
        "options": ["left", "right"],
        "lettered": ["A. left", "B. right"],
        "answer": "B",
        "problem_type": "multiple choice",
        "solution": "B",
        "prompt": "Which way?",
        "completion": COMPLETION,
        "finish_reason": "stop",
        "tokens": 9,
        "pipeline": 1.0,
        "pipeline_extracted": "B",
        "pipeline_rule": "letter",
    }
    row |= fields
    names = ("benchmark", "protocol", "frames", "view", "sample_id")
    derived = {"key": "/".join(str(row[name]) for name in names), "cluster": f"{row['sample_id']}.mp4"}
    return row | {name: value for name, value in derived.items() if name not in fields}


def failed_row(**fields: Any) -> dict[str, Any]:
    """A question that could not be put to the model."""
    error = {"completion": "", "finish_reason": "error", "tokens": 0, "error": "a.mp4: empty file"}
    unscored = {"error_class": "unreadable clip", "pipeline": None, "pipeline_extracted": "", "pipeline_rule": ""}
    return answer_row(**(error | unscored | fields))
