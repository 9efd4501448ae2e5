"""Asking what is still to be asked: batches of jobs to log rows. One bad clip costs its own rows and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from tasks.benchmark import media
from tasks.benchmark.answer import see
from tasks.benchmark.jobs import Job, Settings, chat_of, decoding_of
from tasks.core.engine.types import Completion, Engine, Request, failed
from tasks.core.io.seeds import derive_seed
from tasks.core.video import Clip, VideoError, in_batches

MISSING, UNREADABLE, REFUSED = "missing file", "unreadable clip", "refused request"
ERROR_CLASSES = (MISSING, UNREADABLE, REFUSED)

Seen = tuple[Clip | None, str, str]
"""What a job's model is shown; why it cannot be, and the class of that error ("" when it can)."""


def answer_jobs(
    engine: Engine, groups: Sequence[list[Job]], settings: Settings, batch_size: int
) -> Iterator[list[dict[str, Any]]]:
    """Log rows of the jobs, batch by batch; a group holds the views of one sample at one frame cap.

    All groups are of one source (one decoding). A clip is decoded once per group, the next batch's by
    `settings.decode_workers` threads while the engine answers.
    """
    if not groups:
        return
    decoding = decoding_of(groups[0][0].source, settings)
    size = max(1, batch_size // max(len(group) for group in groups))
    for batch, clips in in_batches(groups, size, partial(_read, settings=settings), settings.decode_workers):
        seen = [(job, *_shown(job, clip, settings)) for group, clip in zip(batch, clips, strict=True) for job in group]
        requests = [None if reason else _request(engine, job, clip, settings) for job, clip, reason, _ in seen]
        asked = [request for request in requests if request is not None]
        begun = time.monotonic()
        results = iter(engine.generate(asked, **decoding._asdict()))
        seconds = (time.monotonic() - begun) / max(1, len(asked))
        rows = []
        for (job, clip, reason, kind), request in zip(seen, requests, strict=True):
            done = failed(reason) if request is None else next(results)[0]
            kind = kind or (REFUSED if done.finish_reason == "error" else "")
            rows.append(row_of(job, clip, request, done, kind, seconds))
        yield rows


def _read(group: list[Job], settings: Settings) -> Clip | VideoError:
    job = group[0]
    if job.path is None:
        return VideoError(job.source.media_root, f"none of {', '.join(job.sample.media)} is there")
    frames = max(one.frames for one in group) or settings.frames[0]
    try:
        return media.read_sample(
            job.sample,
            job.path,
            settings.sampling._replace(frames=frames),
            windowed=job.source.protocol == "official",
            disk_cache_gb=settings.disk_cache_gb,
            read_limit_seconds=settings.read_limit_seconds,
        )
    except VideoError as error:
        return error


def _shown(job: Job, clip: Clip | VideoError, settings: Settings) -> Seen:
    """A clip that cannot be had is an error on every view, the blind one too: views compare the same questions."""
    if isinstance(clip, VideoError):
        return None, str(clip), MISSING if job.path is None else UNREADABLE
    try:
        seed = derive_seed(settings.seed, job.source.suite.name, job.sample.sample_id, "shuffle")
        return see(clip, job.view, seed), "", ""
    except ValueError as error:
        return None, f"{job.path}: {error}", UNREADABLE


def _request(engine: Engine, job: Job, clip: Clip | None, settings: Settings) -> Request:
    prompt = engine.render(chat_of(job, settings, medium=clip is not None))
    if job.source.protocol == "official" and getattr(engine, "takes_prime", True):
        prompt += job.ask.prime
    # The seed follows from the question and the view alone, so that an answer does not depend on what else is run.
    seed = derive_seed(settings.seed, job.source.suite.name, job.source.protocol, job.sample.sample_id, job.view)
    kind = str(job.sample.extra.get("data_type", "video"))
    return Request(job.key, prompt, clip, kind, seed)


def row_of(
    job: Job, clip: Clip | None, request: Request | None, done: Completion, error_class: str, seconds: float
) -> dict[str, Any]:
    """Log row of one answer, without scores; it holds all that scoring needs, so that logs can be scored alone."""
    sample = job.sample
    return {
        "key": job.key,
        "benchmark": job.source.suite.name,
        "subset": job.source.subset,
        "protocol": job.source.protocol,
        "frames": job.frames,
        "view": job.view,
        "sample_id": sample.sample_id,
        "cluster": sample.cluster,
        "categories": dict(sample.categories),
        "question": sample.question,
        "options": list(sample.options),
        "lettered": list(sample.lettered),
        "answer": sample.answer,
        "problem_type": sample.problem_type,
        "solution": sample.solution,
        "extra": dict(sample.extra),
        "media": "" if job.path is None else str(job.path),
        "prompt": "" if request is None else request.prompt,
        "lead": job.ask.lead if job.source.protocol == "official" else "",
        "completion": done.text,
        "finish_reason": done.finish_reason,
        "tokens": len(done.token_ids),
        "error": done.error,
        "error_class": error_class,
        "frame_indices": [] if clip is None else list(clip.indices),
        "width": None if clip is None else int(clip.frames.shape[2]),
        "height": None if clip is None else int(clip.frames.shape[1]),
        "seconds": round(seconds, 4),
        "judge_model": "",
        "judge_reply": "",
    }
