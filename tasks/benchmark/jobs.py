"""What is to be asked: one job per sample, protocol, frame cap and view, each with a key that names its answer.

A key is a hash of everything that decides the answer: model, decoding, prompt, clip, frames, view, code. An answer in
the log with the same key is the answer; anything else is asked anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tasks.benchmark import media
from tasks.benchmark.suites import REGISTRY
from tasks.benchmark.suites.base import Annotations, Ask, Decoding, Sample, Suite, SuiteError
from tasks.benchmark.suites.video_r1 import read_file
from tasks.core.prompts import messages
from tasks.core.schemas.records import Record
from tasks.core.video import LIMIT_SECONDS

NO_FRAMES = 0
"""Frame cap of the view without video, which is the same at every cap."""


class Settings(NamedTuple):
    """What all jobs of a model share."""

    config: str
    """Hash of the model and of everything else that decides an answer but is not in a job."""
    template: str
    system: str
    seed: int
    views: tuple[str, ...]
    frames: tuple[int, ...]
    sampling: media.Sampling
    """Its `frames` is replaced by each cap."""
    decoding: Decoding
    """Of protocol `video_r1`."""
    official_max_tokens: int | None
    decode_workers: int = 0
    """Threads that decode a batch ahead; no part of a key."""
    disk_cache_gb: float = 0.0
    """Size of the cache of decoded frames, GiB; no part of a key."""
    read_limit_seconds: float = LIMIT_SECONDS
    """How long reading a small file may take; no part of a key."""


class Source(NamedTuple):
    """One suite under one protocol: its samples and where their clips are."""

    suite: Suite
    protocol: str
    annotations: Annotations
    left_out: int
    """Samples that the protocol does not take."""
    media_root: Path
    subset: str


@dataclass(frozen=True)
class Job:
    """One answer to be had."""

    source: Source
    sample: Sample
    frames: int
    view: str
    path: Path | None
    ask: Ask
    key: str


def open_source(
    protocol: str,
    *,
    name: str,
    annotations: str,
    media: str | None,
    video_r1_file: str | None,
    subset: str | None,
    limit: int | None,
) -> Source:
    """Read a suite's annotations; the keyword arguments are the fields of `params.SuiteRun`.

    Raises:
        SuiteError: there is no usable annotation file.
    """
    suite, folder = REGISTRY[name], Path(annotations)
    if not folder.is_dir():
        raise SuiteError(f"{name}: {folder}: no such folder; put the official annotation files there")
    own = protocol == "video_r1" and video_r1_file is not None
    found = read_file(Path(video_r1_file)) if own and video_r1_file else suite.read(folder, subset)
    taken = [sample for sample in found.samples if protocol == "official" or sample.problem_type is not None]
    left_out = len(found.samples) - len(taken)
    kept = found._replace(samples=spread(taken, limit))
    # The mini world's records name their clips from the project's root.
    root = Path() if name == "world" and media is None else Path(media or annotations)
    return Source(suite, protocol, kept, left_out, root, subset or "")


def spread(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """At most `limit` samples, at even distances over the list."""
    if limit is None or limit >= len(samples):
        return list(samples)
    return [samples[place * len(samples) // limit] for place in range(limit)]


def plan(source: Source, settings: Settings) -> Iterator[list[Job]]:
    """Jobs of a source, those of one sample at one frame cap together; the view without video comes once."""
    places = {sample.sample_id: media.locate(sample, source.media_root) for sample in source.annotations.samples}
    stamps = {path: media.stamp(path) for path in set(places.values())}
    for number, frames in enumerate(settings.frames):
        for sample in source.annotations.samples:
            ask, path = ask_of(source, sample, settings), places[sample.sample_id]
            yield [
                _job(
                    source, sample, NO_FRAMES if view == "no_video" else frames, view, path, stamps[path], ask, settings
                )
                for view in settings.views
                if (view != "no_video" or number == 0) and (view != "shuffled" or kind_of(sample) == "video")
            ]


def ask_of(source: Source, sample: Sample, settings: Settings) -> Ask:
    """The question as its protocol words it."""
    if source.protocol == "official":
        return source.suite.ask(sample)
    return Ask(json.dumps([sample.problem or sample.question, *sample.lettered]))


def chat_of(job: Job, settings: Settings, medium: bool) -> list[dict[str, Any]]:
    """Messages of a job."""
    kind = kind_of(job.sample)
    if job.source.protocol == "video_r1":
        return messages(record_of(job.sample), template=settings.template, system=settings.system, medium=medium)
    text = {"type": "text", "text": job.ask.text}
    content = [{"type": kind}, text] if medium else [text]
    system = settings.system if job.ask.system is None else job.ask.system
    return [{"role": "system", "content": [{"type": "text", "text": system}]}, {"role": "user", "content": content}]


def record_of(sample: Sample) -> Record:
    """The sample in Video-R1's record format, for its prompt."""
    return Record(
        problem_id=0,
        problem=sample.problem or sample.question,
        data_type=kind_of(sample),
        problem_type=sample.problem_type or "free-form",
        options=list(sample.lettered),
        process="",
        solution=f"<answer>{sample.solution}</answer>",
        path=sample.cluster,
    )


def kind_of(sample: Sample) -> str:
    """Medium of a sample: image or video."""
    return str(sample.extra.get("data_type", "video"))


def decoding_of(source: Source, settings: Settings) -> Decoding:
    """Decoding of a protocol."""
    if source.protocol == "video_r1":
        return settings.decoding
    own = source.suite.decoding
    return own._replace(max_tokens=settings.official_max_tokens or own.max_tokens)


def _job(
    source: Source,
    sample: Sample,
    frames: int,
    view: str,
    path: Path | None,
    stamp: str,
    ask: Ask,
    settings: Settings,
) -> Job:
    windowed = source.protocol == "official"
    parts = (
        settings.config,
        settings.template if source.protocol == "video_r1" else "",
        settings.system,
        settings.seed,
        tuple(decoding_of(source, settings)),
        tuple(settings.sampling._replace(frames=frames)),
        source.suite.name,
        source.protocol,
        source.subset,
        sample.sample_id,
        tuple(ask),
        sample.problem_type,
        sample.window if windowed else None,
        view,
        stamp,
    )
    digest = hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
    return Job(source, sample, frames, view, path, ask, digest[:20])
