"""The parts of a benchmark: samples from annotation rows, a prompt, a score, and one number from all scores.

A new benchmark is one module in `suites` that builds a `Suite`, and one entry in `suites.REGISTRY`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tasks.core.io.errors import StageError
from tasks.core.text import options
from tasks.core.text.options import LETTERS

DataType = Literal["image", "video"]


class SuiteError(StageError):
    """An annotation file is missing or malformed; the text names file, record and field."""


class Mark(NamedTuple):
    """One scorer's verdict on one completion."""

    value: float | None
    """Score in [0, 1]; None is left out of the mean, and `rule` says why."""
    extracted: str
    """The text that was read as the answer; "" for none."""
    rule: str
    """The rule that decided."""


class Wording(NamedTuple):
    """A question in the words of a protocol."""

    text: str
    """Text of the user turn, behind the video or image."""
    system: str
    """System message."""
    prefill: str = ""
    """Beginning of the assistant's turn; the model continues it."""
    lead: str = ""
    """Text that the official scorer puts before the completion."""


class OfficialWording(NamedTuple):
    """A question in the benchmark's own words. Fields as in `Wording`; a `system` of None means the run's."""

    text: str
    system: str | None = None
    prefill: str = ""
    lead: str = ""


class Decoding(NamedTuple):
    """Sampling parameters."""

    temperature: float
    top_p: float
    max_tokens: int


class Published(NamedTuple):
    """One published number, shown beside ours."""

    model: str
    protocol: str
    frames: int | None
    """Frame cap; None where the source does not say or does not use one."""
    value: float
    """Percent."""
    source: str
    note: str = ""
    """Why even a run that follows the protocol is not comparable; "" when it is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One question of a benchmark."""

    sample_id: str
    """Unique within its benchmark, made of the benchmark's own ids."""
    question: str
    """As annotated, without its options unless they are part of the question text."""
    options: tuple[str, ...]
    """Option texts without letters, in order; empty for open questions."""
    answer: str
    """Truth in the form of the official scorer."""
    categories: Mapping[str, str]
    """The benchmark's own groupings: grouping -> group."""
    media: tuple[str, ...]
    """Paths to look for the clip at, best first, relative to the media folder."""
    cluster: str
    """Name that samples of the same source clip or scene have in common."""
    problem_type: str | None
    """Video-R1's problem type; None for a question that has none (a caption)."""
    solution: str
    """Truth under Video-R1's protocol, without tags."""
    problem: str = ""
    """Question text under Video-R1's protocol; "" means `question`."""
    lettered: tuple[str, ...] = ()
    """Options under Video-R1's protocol ("A. left")."""
    data_type: DataType = "video"
    form: Literal["official", "video_r1"] = "official"
    """Whose annotation file the question was read from: the benchmark's own, or Video-R1's `eval_*.json`."""
    window: tuple[float, float] | None = None
    """Part of the clip that the question is about, seconds; only the official protocol may honour it."""
    frame_rate: float | None = None
    """Frames per second of a folder of pictures; None for a video file."""
    video: str = ""
    """Name of the clip in the benchmark's result file."""
    question_id: str = ""
    """Id of the question in the benchmark's result file, where that is not `sample_id`."""
    explanation: str = ""
    """The benchmark's own explanation of the truth, for its result file."""
    caption_question: str = ""
    """Multiple-choice question that a judge answers from a model's caption."""
    caption_answer: str = ""
    """Its true option."""


class Annotations(NamedTuple):
    """What an annotation folder holds."""

    samples: list[Sample]
    faults: list[str]
    """One line per record that cannot be used: file, record, field, reason."""
    files: list[Path]
    """Files that were read."""


class JudgePrompt(NamedTuple):
    """A question for a judge model."""

    system: str
    user: str


Row = Mapping[str, Any]
"""A row of the answer log (`ANSWER_SCHEMA`)."""


@dataclass(frozen=True)
class Suite:
    """A benchmark."""

    name: str
    title: str
    read: Callable[[Path, str | None], Annotations]
    """(annotation folder, subset) -> samples; raises SuiteError when there is no usable file at all."""
    counts: Mapping[str, Mapping[str, int]]
    """Subset ("" for the whole) -> group of `counted_by` -> rows of the published files."""
    counted_by: str
    """Grouping that `counts` refers to; "all" counts all rows."""
    protocols: tuple[str, ...] = ("official", "video_r1")
    """Protocols that it can be run under."""
    scorers: tuple[str, ...] = ("official", "video_r1")
    """Protocols whose scorers read every answer, whatever it was asked under."""
    word: Callable[[Sample], OfficialWording] | None = None
    """Official wording of a question."""
    mark: Callable[[Sample, str], Mark] | None = None
    """Official score of a completion, without a judge."""
    decoding: Decoding | None = None
    """Sampling parameters of the official code."""
    deviations: Sequence[str] = ()
    """Where the `official` protocol here departs from the official code."""
    leaves: str | None = None
    """Grouping whose groups are averaged for the overall number; None averages over samples."""
    coefficients: Callable[[Sequence[str]], dict[str, float]] | None = None
    """Group names present -> weight of each in the overall number; None gives all the same."""
    combined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Derived groups of `leaves`: name -> groups whose plain average it is."""
    controls_by: str | None = None
    """Grouping by which controls are reported; None compares all questions together."""
    without_lecture: str | None = None
    """Subset that asks some of the questions without the lecture they are about; the difference is knowledge gain."""
    judge: Callable[[Sample, str], JudgePrompt | None] | None = None
    """Question for a judge about a completion; None where no judge is needed for it."""
    verdict: Callable[[Sample, str], Mark] | None = None
    """Reading of the judge's reply."""
    export: Callable[[Sequence[Row]], dict[str, Any]] | None = None
    """Log rows -> the benchmark's own result files: file name -> JSON value (text for a .csv)."""
    unwrap: bool = True
    """Whether reasoning and answer tags are removed before the official rule reads the completion."""


def lettered(texts: Sequence[str]) -> tuple[str, ...]:
    """Options as Video-R1 shows them: "A. left"; unchanged if every option already begins with its own letter.

    Raises:
        SuiteError: more options than letters.
    """
    try:
        return tuple(options.lettered(texts))
    except ValueError as error:
        raise SuiteError(str(error)) from error


def unlettered(texts: Sequence[str]) -> tuple[str, ...]:
    """Option texts without their labels."""
    return tuple(options.unlettered(text, letter) for letter, text in zip(LETTERS, texts, strict=False))


def alike(groups: Sequence[str]) -> dict[str, float]:
    """The same weight for every group."""
    return {group: 1 / len(groups) for group in groups}
