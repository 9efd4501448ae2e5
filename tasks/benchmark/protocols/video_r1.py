"""Protocol `video_r1`: Video-R1's prompt, sampling parameters and scorer, and its own evaluation files.

Source: github.com/tulerfeng/Video-R1, src/eval_bench.py. Its holes are part of the protocol: the first answer
block counts, letters must be equal to the byte, "42" and "42.0" differ, thresholds compare in single precision
with "<".
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from tasks.benchmark.base import Annotations, Decoding, Mark, Row, Sample, Suite, SuiteError, Wording, unlettered
from tasks.benchmark.protocols.base import Protocol, record_of
from tasks.benchmark.reading import files
from tasks.benchmark.settings import FrameSampling, Settings
from tasks.core.prompts.build import user_text
from tasks.core.rewards.strict import as_number, has_decimal_mark
from tasks.core.text.tags import first_answer_of

SCORED = ("multiple choice", "numerical", "regression")
"""Problem types that the published evaluation scores; every other type gets 0 there."""
PIXELS = 256 * 28 * 28
"""Published bound of a frame's pixels."""
DECODING = Decoding(0.1, 0.001, 1024)
"""Of eval_bench.py; the README says temperature 0.01."""
_THRESHOLDS = np.array([0.5 + 0.05 * step for step in range(10)], dtype=np.float32)
_EPSILON = 1e-8


def takes(sample: Sample) -> bool:
    """Whether the published evaluation scores a question's type."""
    return sample.problem_type in SCORED


def word(suite: Suite, sample: Sample, settings: Settings) -> Wording:
    """The question in Video-R1's record format, by the run's template."""
    return Wording(user_text(record_of(sample), settings.template), settings.system)


def decoding(suite: Suite, settings: Settings) -> Decoding:
    """`benchmark.sampling`."""
    return settings.decoding


def mark_row(suite: Suite, sample: Sample, row: Row, variant: str) -> Mark:
    """Video-R1's score."""
    if sample.problem_type is None or not takes(sample):
        return Mark(None, "", "not scored: no question of this protocol")
    return mark(sample.problem_type, row["completion"], sample.solution)


def mark(problem_type: str, text: str, truth: str) -> Mark:
    """Score of one completion; `truth` is the solution without its tags."""
    tagged = first_answer_of(text)
    rule = "answer tag" if tagged else "whole text"
    answer = tagged or text
    if problem_type == "multiple choice":
        return Mark(float(answer.strip() == truth.strip()), answer.strip(), f"{rule}, equal text")
    if problem_type == "numerical":
        return _number(answer, truth, rule)
    if problem_type == "regression":
        return _regression(answer, truth, rule)
    return Mark(0.0, answer, f"{rule}, never scored")


def relative_accuracy(pred: float, target: float) -> float:
    """Share of the ten thresholds that the relative error stays under, in single precision."""
    error = np.abs(np.float32(pred) - np.float32(target)) / (np.abs(np.float32(target)) + np.float32(_EPSILON))
    return float(np.mean(error < np.float32(1) - _THRESHOLDS))


def deviations(suite: Suite, settings: Settings, sampling: FrameSampling, own_file: bool, backend: str) -> list[str]:
    """Differences of the run from the published evaluation."""
    departures = [] if own_file else ["questions are put into Video-R1's form from the official files"]
    if settings.template != "video_r1":
        departures.append(f"prompt template {settings.template}, published: video_r1")
    if settings.decoding != DECODING:
        departures.append(f"decoding {tuple(settings.decoding)}, published: {tuple(DECODING)}")
    if sampling.max_pixels != PIXELS:
        departures.append(f"{sampling.max_pixels} pixels a frame, published: {PIXELS}")
    if backend != "vllm":
        departures.append(f"engine {backend}, published: vllm")
    return departures


def _number(answer: str, truth: str, rule: str) -> Mark:
    if has_decimal_mark(answer) != has_decimal_mark(truth):
        return Mark(0.0, answer, f"{rule}, decimal mark")
    out, gold = as_number(answer), as_number(truth)
    if out is None or gold is None:
        return Mark(0.0, answer, f"{rule}, not a number")
    return Mark(float(round(out, 2) == round(gold, 2)), answer, f"{rule}, two decimals")


def _regression(answer: str, truth: str, rule: str) -> Mark:
    out, gold = as_number(answer), as_number(truth)
    if out is None or gold is None:
        return Mark(0.0, answer, f"{rule}, not a number")
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        value = relative_accuracy(out, gold)
    return Mark(0.0 if math.isnan(value) else value, answer, f"{rule}, relative accuracy")


def read_file(path: Path) -> Annotations:
    """Samples of one of Video-R1's own evaluation files (`eval_<benchmark>.json`).

    Raises:
        SuiteError: no such file, or not a JSON array.
    """
    if not path.is_file():
        raise SuiteError(f"{path}: no such file")
    return files.collect(files.rows_of(path), _sample, [path])


def _sample(row: Any, where: str) -> Sample:
    problem, kind = files.text(row, "problem", where), files.text(row, "problem_type", where)
    truth = first_answer_of(files.text(row, "solution", where))
    if truth is None:
        raise SuiteError(f"{where}: solution: not <answer>..</answer>")
    options = tuple(files.texts(row, "options", where))
    path = files.text(row, "path", where).removeprefix("./")
    names = ("original_question_type", "duration", "domain", "sub_category", "task_type")
    return Sample(
        sample_id=f"video_r1/{files.text(row, 'problem_id', where)}",
        question=problem,
        options=unlettered(options),
        answer=truth,
        categories={"problem_type": kind} | {name: str(row[name]) for name in names if row.get(name)},
        media=(path,),
        cluster=path,
        problem_type=kind,
        solution=truth,
        lettered=options,
        form="video_r1",
    )


PROTOCOL = Protocol(
    name="video_r1",
    takes=takes,
    word=word,
    decoding=decoding,
    mark=mark_row,
    deviations=deviations,
    other="official",
)
