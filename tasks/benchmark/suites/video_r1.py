"""Video-R1's evaluation protocol: its scorer, and its own evaluation files.

Source: github.com/tulerfeng/Video-R1, src/eval_bench.py. Its holes are part of the protocol: the first answer
block counts, letters must be equal to the byte, "42" and "42.0" differ, thresholds compare in single precision
with "<".
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from tasks.benchmark.suites import files
from tasks.benchmark.suites.base import Annotations, Mark, Sample, SuiteError, unlettered

_ANSWER = re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL)
_THRESHOLDS = np.array([0.5 + 0.05 * step for step in range(10)], dtype=np.float32)
_EPSILON = 1e-8
SCORED = ("multiple choice", "numerical", "regression")
"""Problem types that the published evaluation scores; every other type gets 0 there."""


def mark(problem_type: str, text: str, truth: str) -> Mark:
    """Score of one answer; `truth` is the solution without its tags."""
    found = _ANSWER.search(text)
    said = found.group(1).strip() if found else ""
    rule = "answer tag" if said else "whole text"
    said = said or text
    if problem_type == "multiple choice":
        return Mark(float(said.strip() == truth.strip()), said.strip(), f"{rule}, equal text")
    if problem_type == "numerical":
        return _number(said, truth, rule)
    if problem_type == "regression":
        return _regression(said, truth, rule)
    return Mark(0.0, said, f"{rule}, never scored")


def relative_accuracy(pred: float, target: float) -> float:
    """Share of the ten thresholds that the relative error stays under, in single precision."""
    error = np.abs(np.float32(pred) - np.float32(target)) / (np.abs(np.float32(target)) + np.float32(_EPSILON))
    return float(np.mean(error < np.float32(1) - _THRESHOLDS))


def _number(said: str, truth: str, rule: str) -> Mark:
    if _has_mark(said) != _has_mark(truth):
        return Mark(0.0, said, f"{rule}, decimal mark")
    out, gold = _float(said), _float(truth)
    if out is None or gold is None:
        return Mark(0.0, said, f"{rule}, not a number")
    return Mark(float(round(out, 2) == round(gold, 2)), said, f"{rule}, two decimals")


def _regression(said: str, truth: str, rule: str) -> Mark:
    out, gold = _float(said), _float(truth)
    if out is None or gold is None:
        return Mark(0.0, said, f"{rule}, not a number")
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        value = relative_accuracy(out, gold)
    return Mark(0.0 if math.isnan(value) else value, said, f"{rule}, relative accuracy")


def _float(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _has_mark(text: str) -> bool:
    return "." in text or "," in text


def read_file(path: Path) -> Annotations:
    """Samples of one of Video-R1's own evaluation files (`eval_<benchmark>.json`).

    Raises:
        SuiteError: no such file, or not a JSON array.
    """
    if not path.is_file():
        raise SuiteError(f"{path}: no such file")
    return files.collect(files.numbered(path, files.rows_of(path)), _sample, [path])


def _sample(row: Any, where: str) -> Sample:
    problem, kind = files.text(row, "problem", where), files.text(row, "problem_type", where)
    found = _ANSWER.search(files.text(row, "solution", where))
    if found is None:
        raise SuiteError(f"{where}: solution: not <answer>..</answer>")
    options = tuple(files.texts(row, "options", where))
    path = files.text(row, "path", where).removeprefix("./")
    names = ("original_question_type", "duration", "domain", "sub_category", "task_type")
    return Sample(
        sample_id=f"video_r1/{files.text(row, 'problem_id', where)}",
        question=problem,
        options=unlettered(options),
        answer=found.group(1),
        categories={"problem_type": kind} | {name: str(row[name]) for name in names if row.get(name)},
        media=(path,),
        cluster=path,
        problem_type=kind if kind in SCORED else None,
        solution=found.group(1),
        lettered=options,
    )
