"""Protocol `official`: a benchmark's own prompt, sampling parameters and scorer."""

from __future__ import annotations

from tasks.benchmark.base import Decoding, Mark, Row, Sample, Suite, Wording
from tasks.benchmark.protocols.base import Protocol
from tasks.benchmark.reading.text import bare_answer
from tasks.benchmark.settings import FrameSampling, Settings


def word(suite: Suite, sample: Sample, settings: Settings) -> Wording:
    """The question in the words of the benchmark's own code."""
    assert suite.word is not None, suite.name
    wording = suite.word(sample)
    system = settings.system if wording.system is None else wording.system
    return Wording(wording.text, system, wording.prefill, wording.lead)


def decoding(suite: Suite, settings: Settings) -> Decoding:
    """The official sampling parameters, with the run's own limit of tokens where it sets one."""
    assert suite.decoding is not None, suite.name
    return suite.decoding._replace(max_tokens=settings.official_max_tokens or suite.decoding.max_tokens)


def mark(suite: Suite, sample: Sample, row: Row, variant: str) -> Mark:
    """The benchmark's own score; from the judge's reply, if there is one."""
    assert suite.mark is not None, suite.name
    if sample.form == "video_r1":
        return Mark(None, "", "not scored: the question is of Video-R1's own file")
    text = official_text(suite, row)
    if suite.verdict and suite.judge and row["judge_reply"] and suite.judge(sample, text) is not None:
        return suite.verdict(sample, row["judge_reply"])
    made = suite.mark(sample, text)
    if suite.unwrap and _tagged(row["completion"]) and made.value is not None:
        return made._replace(rule=f"tags removed, {made.rule}")
    return made


def official_text(suite: Suite, row: Row) -> str:
    """The text that the official rule reads."""
    text = str(row["completion"])
    return str(row["lead"]) + (bare_answer(text) if suite.unwrap else text)


def deviations(suite: Suite, settings: Settings, sampling: FrameSampling, own_file: bool, backend: str) -> list[str]:
    """Differences of the run from the official code."""
    departures = list(suite.deviations)
    if suite.unwrap:
        departures.append("reasoning and answer tags are taken off before the official rule reads a completion")
    departures.append("frames are sampled by Video-R1's rule, not by each benchmark's own")
    own = None if suite.decoding is None else suite.decoding.max_tokens
    if settings.official_max_tokens not in (None, own):
        departures.append(f"up to {settings.official_max_tokens} tokens a completion, officially {own}")
    return departures


def _tagged(text: str) -> bool:
    return "</think>" in text or "</answer>" in text


PROTOCOL = Protocol(
    name="official",
    takes=lambda sample: sample.form == "official",
    word=word,
    decoding=decoding,
    mark=mark,
    deviations=deviations,
    other="video_r1",
    windowed=True,
)
