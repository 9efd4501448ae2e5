"""Records to engine requests (the clip decoded, the chat rendered, the seed), and completions as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tasks.core.engine.types import Completion, Engine, Request, failed
from tasks.core.io.seeds import derive_seed
from tasks.core.prompts import messages
from tasks.core.schemas.records import Record, is_reversed
from tasks.core.video import Clip, ReadClip, VideoError, in_turn
from tasks.core.video.perturb import backwards_of

T = TypeVar("T")
AHEAD = 8
"""Requests that may wait decoded before the engine takes them, for each thread that decodes."""


def read_clip(record: Record, read: ReadClip) -> Clip | str:
    """A record's clip in the order that it is about, or why it cannot be read: one broken file costs one row."""
    try:
        clip = read(record.path, record.data_type)
        return backwards_of(clip, record.path) if is_reversed(record) else clip
    except VideoError as error:
        return str(error)


def build_request(
    engine: Engine, record: Record, clip: Clip | None, *, key: str, template: str, system: str, seed: int
) -> Request:
    """Request of one question; without a clip the prompt has no placeholder either.

    The request's seed depends on the run seed, the problem and the key alone, never on its place in a batch.
    """
    chat = messages(record, template=template, system=system, medium=clip is not None)
    return Request(key, engine.render(chat), clip, record.data_type, derive_seed(seed, record.problem_id, key))


def complete(
    engine: Engine,
    items: Sequence[T],
    request_of: Callable[[T], Request | str],
    *,
    workers: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
) -> Iterator[tuple[T, list[Completion]]]:
    """Completions of all items, each as soon as it is done.

    Args:
        engine: generates.
        items: what to ask.
        request_of: an item's request, or why it has none (its clip does not decode): then it fails with that reason.
            Called in other threads while the engine works.
        workers: threads that make requests ready ahead.
        temperature: of sampling.
        top_p: of the nucleus.
        max_tokens: longest completion.
    """
    owners: dict[int, T] = {}
    lost: deque[tuple[T, str]] = deque()

    def requests() -> Iterator[Request]:
        for item, request in in_turn(items, request_of, workers, AHEAD * workers):
            if isinstance(request, str):
                lost.append((item, request))
            else:
                owners[id(request)] = item
                yield request

    stream = engine.stream(requests(), temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    for request, completions in stream:
        yield owners.pop(id(request)), completions
        while lost:
            item, reason = lost.popleft()
            yield item, [failed(reason)]
    while lost:
        item, reason = lost.popleft()
        yield item, [failed(reason)]
