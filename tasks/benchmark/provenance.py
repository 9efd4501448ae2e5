"""Files and settings of a benchmark run, and its differences from the published one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tasks.benchmark.base import Published, Sample, Suite
from tasks.benchmark.jobs import QuestionSet, decoding_of
from tasks.benchmark.published import published
from tasks.benchmark.settings import Settings
from tasks.core.io.digests import file_digest

FAULTS_SHOWN = 20


def describe(
    questions: QuestionSet, settings: Settings, backend: str, judge: str | None, missing: int
) -> dict[str, Any]:
    """Files, counts, settings and deviations of one suite under one protocol.

    Args:
        questions: what was read.
        settings: what all jobs share.
        backend: engine that answered.
        judge: judge model, if any.
        missing: samples whose clip was not found.
    """
    suite, protocol, annotations = questions.suite, questions.protocol, questions.annotations
    deviations = protocol.deviations(suite, settings, questions.sampling, questions.own_file, backend)
    by_group = counts(questions)
    lacking = incomplete(by_group)
    return {
        "benchmark": suite.name,
        "title": suite.title,
        "subset": questions.subset,
        "protocol": protocol.name,
        "frames": list(questions.frames),
        "files": {str(path): file_digest(path) for path in annotations.files},
        "media_root": str(questions.media_root or "."),
        "samples": len(annotations.samples),
        "left_out_by_protocol": questions.left_out,
        "faults": len(annotations.faults),
        "first_faults": annotations.faults[:FAULTS_SHOWN],
        "missing_clips": missing,
        "counts": by_group,
        "incomplete": lacking,
        "decoding": decoding_of(questions, settings)._asdict(),
        "judge": judge,
        "deviations": deviations,
        "published": [
            number._asdict()
            | {
                "not_comparable": {
                    str(cap): not_comparable(number, protocol.name, cap, deviations, lacking)
                    for cap in questions.frames
                }
            }
            for number in published(suite.name)
        ],
    }


def counts(questions: QuestionSet) -> dict[str, dict[str, int]]:
    """Group -> rows read, and rows of the published files; empty where the published number is not known."""
    expected = questions.suite.counts.get(questions.subset)
    present = Counter(_groups(questions.suite, questions.annotations.samples))
    if expected is None or not present:
        return {}
    every = questions.protocol.name == "official"
    return {
        name: {"read": present[name], "published": number}
        for name, number in expected.items()
        if every or present[name]
    }


def incomplete(by_group: dict[str, dict[str, int]]) -> list[str]:
    """One sentence per group with more or fewer rows than published."""
    return [
        f"{name}: {count['read']} of {count['published']} rows"
        for name, count in by_group.items()
        if count["read"] != count["published"]
    ]


def not_comparable(
    number: Published, protocol: str, frames: int, deviations: Sequence[str], lacking: Sequence[str]
) -> str:
    """Why a published number is not comparable with ours; "" when it is."""
    if number.protocol != protocol:
        return f"protocol {number.protocol}"
    if number.frames is not None and number.frames != frames:
        return f"{number.frames} frames"
    if number.frames is None:
        return "its frames are not ours"
    if lacking:
        return "our set is incomplete"
    if deviations:
        return "ours departs from the protocol"
    return number.note


def _groups(suite: Suite, samples: Sequence[Sample]) -> list[str]:
    """Group of each sample; none where samples do not carry the grouping (Video-R1's own files)."""
    if suite.counted_by == "all":
        return ["all"] * len(samples)
    return [sample.categories[suite.counted_by] for sample in samples if suite.counted_by in sample.categories]
