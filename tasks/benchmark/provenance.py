"""What a benchmark run was made of, and how far it is from the published one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tasks.benchmark.jobs import Settings, Source, decoding_of
from tasks.benchmark.suites.base import Decoding, Published, Sample, Suite
from tasks.core.io.digests import file_digest

FAULTS_SHOWN = 20
PUBLISHED_PIXELS = 256 * 28 * 28
PUBLISHED_FRAMES = (16, 32, 64)
PUBLISHED_DECODING = Decoding(0.1, 0.001, 1024)
"""Of Video-R1's eval_bench.py; its README says temperature 0.01."""


def describe(source: Source, settings: Settings, backend: str, judge: str | None, missing: int) -> dict[str, Any]:
    """Files, counts, settings and departures of one benchmark under one protocol.

    Args:
        source: what was read.
        settings: what all jobs share.
        backend: engine that answered.
        judge: judge model, if any.
        missing: samples whose clip was not found.
    """
    found, said = counts(source), deviations(source, settings, backend)
    lacking = incomplete(found)
    return {
        "benchmark": source.suite.name,
        "title": source.suite.title,
        "subset": source.subset,
        "protocol": source.protocol,
        "files": {str(path): file_digest(path) for path in source.annotations.files},
        "media_root": str(source.media_root),
        "samples": len(source.annotations.samples),
        "left_out_by_protocol": source.left_out,
        "faults": len(source.annotations.faults),
        "first_faults": source.annotations.faults[:FAULTS_SHOWN],
        "missing_clips": missing,
        "counts": found,
        "incomplete": lacking,
        "decoding": decoding_of(source, settings)._asdict(),
        "judge": judge,
        "deviations": said,
        "published": [
            one._asdict()
            | {
                "not_comparable": {
                    str(cap): comparable(one, source.protocol, cap, said, lacking) for cap in settings.frames
                }
            }
            for one in source.suite.published
        ],
    }


def counts(source: Source) -> dict[str, dict[str, int]]:
    """Group -> rows found, and rows of the published files; nothing where none are known for the subset."""
    suite = source.suite
    published = suite.counts.get(source.subset)
    if published is None or not _groups(suite, source.annotations.samples):
        return {}
    found = Counter(_groups(suite, source.annotations.samples))
    taken = {name: number for name, number in published.items() if source.protocol == "official" or found[name]}
    return {name: {"found": found[name], "published": number} for name, number in taken.items()}


def incomplete(found: dict[str, dict[str, int]]) -> list[str]:
    """One sentence per group whose rows are not as many as published."""
    return [
        f"{name}: {count['found']} of {count['published']} rows"
        for name, count in found.items()
        if count["found"] != count["published"]
    ]


def deviations(source: Source, settings: Settings, backend: str) -> list[str]:
    """Where the run departs from its protocol; an empty list means a comparable number."""
    said: list[str] = []
    if source.protocol == "official":
        said += source.suite.deviations
        if source.suite.unwrap:
            said.append("reasoning and answer tags are taken off before the official rule reads an answer")
        said.append("frames are sampled by Video-R1's rule, not by each benchmark's own")
        if settings.official_max_tokens not in (None, source.suite.decoding.max_tokens):
            said.append(
                f"up to {settings.official_max_tokens} tokens an answer, officially {source.suite.decoding.max_tokens}"
            )
        return said
    if not any(path.name.startswith("eval_") for path in source.annotations.files):
        said.append("questions are put into Video-R1's form from the official files")
    if settings.template != "video_r1":
        said.append(f"prompt template {settings.template}, published: video_r1")
    if settings.decoding != PUBLISHED_DECODING:
        said.append(f"decoding {tuple(settings.decoding)}, published: {tuple(PUBLISHED_DECODING)}")
    if settings.sampling.max_pixels != PUBLISHED_PIXELS:
        said.append(f"{settings.sampling.max_pixels} pixels a frame, published: {PUBLISHED_PIXELS}")
    if backend != "vllm":
        said.append(f"engine {backend}, published: vllm")
    return said


def comparable(one: Published, protocol: str, frames: int, said: Sequence[str], lacking: Sequence[str]) -> str:
    """Why a published number is not comparable with ours; "" when it is."""
    if one.protocol != protocol:
        return f"protocol {one.protocol}"
    if one.frames is not None and one.frames != frames:
        return f"{one.frames} frames"
    if one.frames is None:
        return "its frames are not ours"
    if lacking:
        return "our set is incomplete"
    if said:
        return "ours departs from the protocol"
    return one.note


def _groups(suite: Suite, samples: Sequence[Sample]) -> list[str]:
    """Group of each sample; none where samples do not carry the grouping (Video-R1's own files)."""
    if suite.counted_by == "all":
        return ["all"] * len(samples)
    return [one.categories[suite.counted_by] for one in samples if suite.counted_by in one.categories]
