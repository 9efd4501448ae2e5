"""The benchmark's answer log and the numbers made of it: what `benchmark` writes, and `validate` and `report` read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tasks.core.stats import Estimate, Paired

PROTOCOLS = ("official", "video_r1", "pipeline")
ANSWER_NAME = ("model", "benchmark", "subset", "protocol", "frames", "view", "sample_id")
"""Fields that name a row among all logs."""
TEST_SPLIT = "world"
"""Suite of the test split of `data/ingest`, which every model answers."""
NO_FRAMES = 0
"""Frame cap of the view without video, which is the same at every cap."""


def _text(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False)


def _score_fields(protocol: str) -> list[pa.Field]:
    return [pa.field(protocol, pa.float64()), _text(f"{protocol}_extracted"), _text(f"{protocol}_rule")]


ANSWER_SCHEMA = pa.schema(
    [
        *map(_text, ("key", "model", "benchmark", "subset", "protocol")),
        pa.field("frames", pa.int64(), nullable=False),
        *map(_text, ("view", "sample_id", "form", "data_type", "cluster")),
        pa.field("categories", pa.map_(pa.string(), pa.string()), nullable=False),
        _text("question"),
        pa.field("options", pa.list_(pa.string()), nullable=False),
        pa.field("lettered", pa.list_(pa.string()), nullable=False),
        _text("answer"),
        pa.field("problem_type", pa.string()),
        *map(_text, ("solution", "video", "question_id", "explanation", "caption_question", "caption_answer")),
        *map(_text, ("media", "prompt", "lead", "completion", "finish_reason")),
        pa.field("tokens", pa.int64(), nullable=False),
        *map(_text, ("error", "error_class")),
        pa.field("frame_indices", pa.list_(pa.int64()), nullable=False),
        pa.field("width", pa.int64()),
        pa.field("height", pa.int64()),
        *map(_text, ("judge_model", "judge_reply")),
        *(field for protocol in PROTOCOLS for field in _score_fields(protocol)),
    ]
)
"""One answer: the question, what was shown, the completion, and its score by every scorer that reads it.

`error` is "" or why there is no completion, `error_class` its kind; an error has no score, which is not a wrong answer.
A score of null beside a completion takes no part in the mean; its rule says why.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Numbers of one suite (or a subset of it) under one protocol, at one frame cap, on one view."""

    benchmark: str
    subset: str
    protocol: str
    frames: int
    view: str
    rows: int
    """Questions."""
    answered: int
    """Questions that could be put to the model."""
    scored: int
    """Answers that the protocol's scorer counts."""
    errors: dict[str, int]
    """Kind of error -> rows."""
    not_scored: dict[str, int]
    """Rule -> answers that it leaves out."""
    overall: Estimate
    """The suite's own overall number."""
    mean: Estimate
    """Mean over answers."""
    mean_stderr: float | None
    """Standard error of the mean as lmms-eval gives it."""
    over_all_answers: float | None
    """Mean where answers that the scorer leaves out count as wrong."""
    other_scorer: str
    """Protocol of another scorer that read the same answers,"""
    under_other_scorer: Estimate
    """and its mean."""
    groups: dict[str, dict[str, Estimate]]
    """Grouping -> group -> mean."""
    well_formed: float | None
    """Share of completions that are one think block and one answer block."""
    unread: float | None
    """Share of scored answers in which the rule found nothing."""
    truncated: float | None
    tokens: float | None
    """Mean length of a completion."""
    letters: dict[str, Any]
    """How often each option letter is given and is true; empty where no answer names one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Control:
    """What shuffling the frames and leaving the video out cost, on the questions scored on every view."""

    benchmark: str
    subset: str
    protocol: str
    frames: int
    group: str
    """Group of the suite's `controls_by`; "" for all questions."""
    n: int
    scores: dict[str, float]
    """View -> score on those questions."""
    lost: dict[str, Paired]
    """Control view -> ordered minus control."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gain:
    """Knowledge gain of a suite that is also asked without its lectures."""

    benchmark: str
    protocol: str
    frames: int
    before: float
    after: float
    gain: float
    """Share of what was wrong before that is right after: (after - before) / (1 - before)."""
    n: int
    """Questions scored in both."""


@dataclasses.dataclass(frozen=True, slots=True)
class Numbers:
    """Everything reported about one model: `reports/benchmark/<model>.json`."""

    model: str
    entries: list[Entry]
    controls: list[Control]
    gains: list[Gain]
    question_sets: list[dict[str, Any]]
    """What was read, per suite and protocol: files, counts, settings, departures, published numbers."""


def as_json(value: Any) -> Any:
    """A record of this module as a JSON value; estimates become objects of their fields."""
    if isinstance(value, Estimate | Paired):
        return as_json(value._asdict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def numbers_of(raw: Mapping[str, Any]) -> Numbers:
    """`Numbers` of what `as_json` made of them.

    Raises:
        KeyError, TypeError: not made by it.
    """
    return Numbers(
        str(raw["model"]),
        [_entry(item) for item in raw["entries"]],
        [_control(item) for item in raw["controls"]],
        [Gain(**item) for item in raw["gains"]],
        list(raw["question_sets"]),
    )


def _entry(raw: Mapping[str, Any]) -> Entry:
    estimates = {name: Estimate(**raw[name]) for name in ("overall", "mean", "under_other_scorer")}
    groups = {
        grouping: {group: Estimate(**estimate) for group, estimate in of.items()}
        for grouping, of in raw["groups"].items()
    }
    return Entry(**{**raw, **estimates, "groups": groups})


def _control(raw: Mapping[str, Any]) -> Control:
    return Control(**{**raw, "lost": {view: Paired(**paired) for view, paired in raw["lost"].items()}})
