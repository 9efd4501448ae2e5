"""Protocol `pipeline`: prompt, sampling parameters and scorer as in the other stages; for the test split."""

from __future__ import annotations

from tasks.benchmark.base import Decoding, Mark, Row, Sample, Suite, Wording
from tasks.benchmark.protocols.base import Protocol, record_of
from tasks.benchmark.settings import FrameSampling, Settings
from tasks.core.prompts.build import user_text
from tasks.core.rewards import accuracy


def word(suite: Suite, sample: Sample, settings: Settings) -> Wording:
    """The question as in annotation, SFT and RL."""
    return Wording(user_text(record_of(sample), settings.template), settings.system)


def decoding(suite: Suite, settings: Settings) -> Decoding:
    """`benchmark.sampling`."""
    return settings.decoding


def mark(suite: Suite, sample: Sample, row: Row, variant: str) -> Mark:
    """Reward of the answer, by the scorer that the filter and the training use."""
    if sample.problem_type is None:
        return Mark(None, "", "not scored: no problem type")
    score = accuracy(sample.problem_type, row["completion"], f"<answer>{sample.solution}</answer>", variant)
    return Mark(score.value, score.extracted if score.parsed else "", score.rule)


def deviations(suite: Suite, settings: Settings, sampling: FrameSampling, own_file: bool, backend: str) -> list[str]:
    """Nothing is published under this protocol."""
    return []


PROTOCOL = Protocol(
    name="pipeline",
    takes=lambda sample: sample.problem_type is not None,
    word=word,
    decoding=decoding,
    mark=mark,
    deviations=deviations,
    other="video_r1",
)
