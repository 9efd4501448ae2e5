"""What is to be asked: one job per sample, protocol, frame cap and view, each with a key that names its answer.

A key is a hash of everything that decides the completion: model, decoding, prompt, clip, frames, view, code. A row of
the log with the same key holds the answer; anything else is asked anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tasks.benchmark import clips
from tasks.benchmark.base import Annotations, Decoding, Sample, Suite, SuiteError, Wording
from tasks.benchmark.protocols import PROTOCOLS
from tasks.benchmark.protocols.base import Protocol
from tasks.benchmark.protocols.video_r1 import read_file
from tasks.benchmark.settings import FrameSampling, Settings
from tasks.benchmark.suites import REGISTRY
from tasks.core.schemas.answers import NO_FRAMES


class QuestionSet(NamedTuple):
    """One suite under one protocol: its samples, the folder of their clips, and the frame caps."""

    suite: Suite
    protocol: Protocol
    subset: str
    annotations: Annotations
    left_out: int
    """Samples that the protocol does not take."""
    media_root: Path | None
    """Folder of the clips; None takes paths as they are (the test split's, which ingest has checked)."""
    frames: tuple[int, ...]
    """Frame caps."""
    sampling: FrameSampling
    """Its `frames` is replaced by each cap."""
    own_file: bool = False
    """Whether the questions come from Video-R1's own evaluation file."""


@dataclass(frozen=True)
class Job:
    """One question to ask, in one view."""

    questions: QuestionSet
    sample: Sample
    frames: int
    """Frame cap; `NO_FRAMES` without video."""
    view: str
    path: Path | None
    """The clip; None if it is missing."""
    wording: Wording
    key: str


def open_questions(
    protocol: str,
    *,
    name: str,
    annotations: str,
    media: str | None,
    video_r1_file: str | None,
    subset: str | None,
    limit: int | None,
    frames: Sequence[int],
    sampling: FrameSampling,
) -> QuestionSet:
    """Read a suite's annotations.

    Args:
        protocol: name of the protocol.
        name: of the suite.
        annotations: annotation folder.
        media: folder of the clips; None takes `annotations`; paths of the test split are complete and need none.
        video_r1_file: Video-R1's own file, for protocol `video_r1`; None makes its form from the official files.
        subset: of the suite; None takes all of it.
        limit: most questions, evenly spread; None takes all.
        frames: frame caps.
        sampling: which frames, and how large.

    Raises:
        SuiteError: there is no usable annotation file, or the suite has no such protocol.
    """
    suite, folder, rules = REGISTRY[name], Path(annotations), PROTOCOLS[protocol]
    if protocol not in suite.protocols:
        raise SuiteError(f"{name}: no protocol {protocol!r}; it has {', '.join(suite.protocols)}")
    if not folder.is_dir():
        raise SuiteError(f"{name}: {folder}: no such folder; put the official annotation files there")
    own_file = protocol == "video_r1" and video_r1_file is not None
    read = read_file(Path(video_r1_file)) if own_file and video_r1_file else suite.read(folder, subset)
    taken = [sample for sample in read.samples if rules.takes(sample)]
    kept = read._replace(samples=spread(taken, limit))
    own_paths = "pipeline" in suite.protocols and media is None
    root = None if own_paths else Path(media or annotations)
    caps = tuple(sorted(set(frames)))
    left_out = len(read.samples) - len(taken)
    return QuestionSet(suite, rules, subset or "", kept, left_out, root, caps, sampling, own_file)


def spread(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """At most `limit` samples, at even distances over the list."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[place * len(samples) // limit] for place in range(limit)]


def plan(questions: QuestionSet, settings: Settings) -> Iterator[list[Job]]:
    """Jobs of a question set, grouped by sample and frame cap; the view `no_video` is asked at the first cap only."""
    samples = questions.annotations.samples
    places = {sample.sample_id: clips.locate(sample, questions.media_root) for sample in samples}
    stamps = {path: clips.stamp(path) for path in set(places.values())}
    for number, frames in enumerate(questions.frames):
        for sample in samples:
            path = places[sample.sample_id]
            wording = questions.protocol.word(questions.suite, sample, settings)
            jobs = []
            for view in views_of(sample, settings.views, first_cap=number == 0):
                cap = NO_FRAMES if view == "no_video" else frames
                key = key_of(questions, sample, cap, view, stamps[path], wording, settings)
                jobs.append(Job(questions, sample, cap, view, path, wording, key))
            yield jobs


def views_of(sample: Sample, views: Sequence[str], first_cap: bool) -> list[str]:
    """Views of a sample: an image has no order to shuffle, and `no_video` is the same at every frame cap."""
    return [
        view
        for view in views
        if (view != "shuffled" or sample.data_type == "video") and (view != "no_video" or first_cap)
    ]


def decoding_of(questions: QuestionSet, settings: Settings) -> Decoding:
    """Sampling parameters of a question set."""
    return questions.protocol.decoding(questions.suite, settings)


def chat_of(job: Job, medium: bool) -> list[dict[str, Any]]:
    """Messages of a job: system turn, then a user turn with the medium, if it is shown, before the text."""
    text = {"type": "text", "text": job.wording.text}
    content = [{"type": job.sample.data_type}, text] if medium else [text]
    system = [{"type": "text", "text": job.wording.system}]
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def key_of(
    questions: QuestionSet,
    sample: Sample,
    frames: int,
    view: str,
    stamp: str,
    wording: Wording,
    settings: Settings,
) -> str:
    """Key of an answer: a hash of everything that decides it; `stamp` is the digest of the clip."""
    parts = (
        settings.config,
        settings.seed,
        tuple(decoding_of(questions, settings)),
        tuple(questions.sampling._replace(frames=frames)),
        questions.suite.name,
        questions.protocol.name,
        questions.subset,
        sample.sample_id,
        tuple(wording),
        sample.problem_type,
        sample.window if questions.protocol.windowed else None,
        view,
        stamp,
    )
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:20]
