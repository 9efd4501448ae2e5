"""Batches of jobs to log rows. A bad clip costs its own rows and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from tasks.benchmark import clips
from tasks.benchmark.jobs import Job, chat_of, decoding_of
from tasks.benchmark.settings import Settings
from tasks.core.engine.types import Completion, Engine, Request, failed
from tasks.core.io.seeds import derive_seed
from tasks.core.video import Clip, VideoError, in_batches

MISSING, UNREADABLE, REFUSED = "missing file", "unreadable clip", "refused request"


class Shown(NamedTuple):
    """The clip of a job, or why there is none."""

    clip: Clip | None
    """None on the view without video, and where there is an error."""
    error: str = ""
    error_class: str = ""


def answer_jobs(
    engine: Engine, groups: Sequence[list[Job]], settings: Settings, batch_size: int
) -> Iterator[list[dict[str, Any]]]:
    """Log rows of the jobs, batch by batch; a group holds the views of one sample at one frame cap.

    All groups belong to one question set, so they share the sampling parameters. A clip is decoded once per group;
    `settings.decode_workers` threads decode the next batch while the engine answers.
    """
    if not groups:
        return
    decoding = decoding_of(groups[0][0].questions, settings)
    size = max(1, batch_size // max(len(group) for group in groups))
    for batch, decoded in in_batches(groups, size, partial(_read, settings=settings), settings.decode_workers):
        pairs = [
            (job, _shown(job, clip, settings)) for group, clip in zip(batch, decoded, strict=True) for job in group
        ]
        requests = [None if shown.error else _request(engine, job, shown.clip, settings) for job, shown in pairs]
        asked = [request for request in requests if request is not None]
        results = iter(engine.generate(asked, **decoding._asdict()))
        rows = []
        for (job, shown), request in zip(pairs, requests, strict=True):
            completion = failed(shown.error) if request is None else next(results)[0]
            error_class = shown.error_class or (REFUSED if completion.finish_reason == "error" else "")
            rows.append(row_of(job, shown.clip, request, completion, error_class))
        yield rows


def _read(group: list[Job], settings: Settings) -> Clip | VideoError:
    job = group[0]
    if job.path is None:
        return VideoError(job.questions.media_root or ".", f"none of {', '.join(job.sample.media)} is there")
    frames = max(each.frames for each in group) or job.questions.frames[0]
    try:
        return clips.read_sample(
            job.sample,
            job.path,
            job.questions.sampling._replace(frames=frames),
            windowed=job.questions.protocol.windowed,
            disk_cache_gb=settings.disk_cache_gb,
            read_limit_seconds=settings.read_limit_seconds,
        )
    except VideoError as error:
        return error


def _shown(job: Job, clip: Clip | VideoError, settings: Settings) -> Shown:
    """A clip that cannot be read is an error on every view, `no_video` too: all views have the same questions."""
    if isinstance(clip, VideoError):
        return Shown(None, str(clip), MISSING if job.path is None else UNREADABLE)
    try:
        # Without the protocol: both protocols of a suite see the same order.
        return Shown(clips.show(clip, job.view, derive_seed(settings.seed, *_names(job, ()), "shuffle")))
    except ValueError as error:
        return Shown(None, f"{job.path}: {error}", UNREADABLE)


def _request(engine: Engine, job: Job, clip: Clip | None, settings: Settings) -> Request:
    prompt = engine.render(chat_of(job, medium=clip is not None))
    if getattr(engine, "takes_prime", True):
        prompt += job.wording.prefill
    # The seed depends on question and view alone, so that an answer does not depend on what else is run.
    seed = derive_seed(settings.seed, *_names(job, (job.questions.protocol.name,)), job.view)
    return Request(job.key, prompt, clip, job.sample.data_type, seed)


def _names(job: Job, protocol: tuple[str, ...]) -> tuple[int | str, ...]:
    """Name of a question in seeds; for the test split its number alone, as in every other stage."""
    if job.questions.protocol.name == "pipeline":
        return (int(job.sample.sample_id),)
    return (job.questions.suite.name, *protocol, job.sample.sample_id)


def row_of(
    job: Job, clip: Clip | None, request: Request | None, completion: Completion, error_class: str
) -> dict[str, Any]:
    """Log row of one answer, without model and scores; it holds all that scoring needs."""
    sample = job.sample
    return {
        "key": job.key,
        "benchmark": job.questions.suite.name,
        "subset": job.questions.subset,
        "protocol": job.questions.protocol.name,
        "frames": job.frames,
        "view": job.view,
        "sample_id": sample.sample_id,
        "form": sample.form,
        "data_type": sample.data_type,
        "cluster": sample.cluster,
        "categories": dict(sample.categories),
        "question": sample.question,
        "options": list(sample.options),
        "lettered": list(sample.lettered),
        "answer": sample.answer,
        "problem_type": sample.problem_type,
        "solution": sample.solution,
        "video": sample.video,
        "question_id": sample.question_id,
        "explanation": sample.explanation,
        "caption_question": sample.caption_question,
        "caption_answer": sample.caption_answer,
        "media": "" if job.path is None else str(job.path),
        "prompt": "" if request is None else request.prompt,
        "lead": job.wording.lead,
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "tokens": len(completion.token_ids),
        "error": completion.error,
        "error_class": error_class,
        "frame_indices": [] if clip is None else list(clip.indices),
        "width": None if clip is None else int(clip.frames.shape[2]),
        "height": None if clip is None else int(clip.frames.shape[1]),
        "judge_model": "",
        "judge_reply": "",
    }
