"""Every test question on every view of its clip: the raw answers of one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from tasks.core.engine.questions import build_request, read_clip
from tasks.core.engine.types import Completion, Engine, Request, failed
from tasks.core.io.seeds import derive_seed
from tasks.core.schemas.records import Record
from tasks.core.video import Clip, ReadClip, in_batches, shuffle_clip, shuffle_order

Job = tuple[Record, str, Request | None, str]
"""Record, view, its request, and why there is none ("" when there is one)."""


def views_of(record: Record, views: Sequence[str]) -> list[str]:
    """Views that make sense for a record: an image has no order to shuffle."""
    return [view for view in views if view != "shuffled" or record.data_type == "video"]


def see(clip: Clip, view: str, seed: int) -> Clip | None:
    """What the model is shown: the clip, the clip out of order (never the true order), or nothing.

    Raises:
        ValueError: unknown view, or a clip too short to shuffle.
    """
    if view == "ordered":
        return clip
    if view == "no_video":
        return None
    if view == "shuffled":
        if len(clip.frames) < 2:
            raise ValueError("a clip of one frame has no order to shuffle")
        return shuffle_clip(clip, shuffle_order(len(clip.frames), seed))
    raise ValueError(f"unknown view {view!r}")


def answer_all(
    engine: Engine,
    records: Sequence[Record],
    read: ReadClip,
    *,
    decode_workers: int = 0,
    views: Sequence[str],
    batch_size: int,
    template: str,
    system: str,
    seed: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
) -> Iterator[list[dict[str, Any]]]:
    """Raw answers, batch by batch, all views of a record together; about `batch_size` requests at once.

    Rows: problem_id, view, prompt, completion, finish_reason, tokens, error. A clip that does not decode is an error on
    every view, the blind one too: views are compared on the same questions. The next batch's clips are decoded by
    `decode_workers` threads while the engine answers.
    """
    step = max(1, batch_size // max(1, len(views)))
    for batch, clips in in_batches(records, step, partial(read_clip, read=read), decode_workers):
        jobs = [
            _job(engine, record, view, clip, template=template, system=system, seed=seed)
            for record, clip in zip(batch, clips, strict=True)
            for view in views_of(record, views)
        ]
        requests = [request for _, _, request, _ in jobs if request is not None]
        results = iter(engine.generate(requests, temperature=temperature, top_p=top_p, max_tokens=max_tokens))
        yield [
            raw_answer(record, view, request, failed(reason) if request is None else next(results)[0])
            for record, view, request, reason in jobs
        ]


def _job(engine: Engine, record: Record, view: str, clip: Clip | str, *, template: str, system: str, seed: int) -> Job:
    if isinstance(clip, str):
        return record, view, None, clip
    try:
        seen = see(clip, view, derive_seed(seed, record.problem_id, "shuffle"))
    except ValueError as error:
        return record, view, None, f"{record.path}: {error}"
    request = build_request(engine, record, seen, key=view, template=template, system=system, seed=seed)
    return record, view, request, ""


def raw_answer(record: Record, view: str, request: Request | None, completion: Completion) -> dict[str, Any]:
    """Log row of one answer."""
    return {
        "problem_id": record.problem_id,
        "view": view,
        "prompt": "" if request is None else request.prompt,
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "tokens": len(completion.token_ids),
        "error": completion.error,
    }
