"""The type of a protocol. A new one is a module that builds a `Protocol`, and an entry in `PROTOCOLS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.benchmark.base import Decoding, Mark, Row, Sample, Suite, Wording
from tasks.benchmark.settings import FrameSampling, Settings
from tasks.core.schemas.records import Record


@dataclass(frozen=True)
class Protocol:
    """How questions are asked and scored."""

    name: str
    takes: Callable[[Sample], bool]
    """Whether it can ask and score a question."""
    word: Callable[[Suite, Sample, Settings], Wording]
    """The question in its words."""
    decoding: Callable[[Suite, Settings], Decoding]
    mark: Callable[[Suite, Sample, Row, str], Mark]
    """(suite, sample, answered log row, reward variant) -> score."""
    deviations: Callable[[Suite, Settings, FrameSampling, bool, str], list[str]]
    """(suite, settings, frame sampling, whether Video-R1's own file is read, engine) -> where a run departs from the
    published one; an empty list means a comparable number."""
    other: str
    """Protocol whose scorer is shown beside its own."""
    windowed: bool = False
    """Whether only the part of the clip that the question is about is shown."""


def record_of(sample: Sample) -> Record:
    """The sample in Video-R1's record format, for its prompt."""
    return Record(
        problem_id=0,
        problem=sample.problem or sample.question,
        data_type=sample.data_type,
        problem_type=sample.problem_type or "free-form",
        options=list(sample.lettered),
        process="",
        solution=f"<answer>{sample.solution}</answer>",
        path=sample.cluster,
    )
