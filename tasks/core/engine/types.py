"""The interface of an engine: rendered requests in, completions out; a bad request costs its own result only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from tasks.core.io.errors import StageError

if TYPE_CHECKING:
    from tasks.core.video.clip import Clip

FinishReason = Literal["stop", "length", "error"]


class EngineError(StageError):
    """The engine itself failed, at its start or for good; it is not the fault of a request."""


@dataclass(frozen=True)
class Request:
    """One question for an engine."""

    key: str
    """Names the request in results and messages."""
    prompt: str
    """Rendered chat text with one unexpanded placeholder if there is a clip."""
    clip: Clip | None
    """Sampled and resized frames; an image is a clip of one frame."""
    data_type: str
    """"image" or "video"."""
    seed: int
    """Seed of this request's own random stream: completions do not depend on what else is in the batch."""
    n: int = 1
    """Completions wanted; number i is sampled with `seed` + i."""


@dataclass(frozen=True)
class Completion:
    """What a model produced for a request."""

    text: str
    """Decoded without special tokens."""
    token_ids: list[int] = field(default_factory=list)
    """As sampled, with the end token if the completion ended by itself."""
    finish_reason: FinishReason = "stop"
    error: str = ""
    """Why there is no completion; empty unless `finish_reason` is "error"."""
    prompt_tokens: int = 0
    """Length of the prompt as the engine counts it; 0 where it does not say."""


Answered = tuple[Request, list[Completion]]
"""A request and its completions: `n` of them, or one that failed."""


class Engine(Protocol):
    """Generation with one model; a context manager that frees the model on exit."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as the model's prompt text."""
        ...

    def stream(
        self, requests: Iterable[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> Iterator[Answered]:
        """Completions of each request, as they finish; further requests start as soon as there is room.

        The iterable is read in another thread, a few requests ahead. A request that cannot be answered (too long, clip
        and prompt at odds) gets one completion with `finish_reason` "error". Visual special tokens are never sampled.
        The sampling settings of the checkpoint's generation_config.json have no effect; its end tokens have.

        Raises:
            EngineError: the engine is beyond recovery.
        """
        ...

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> list[list[Completion]]:
        """`stream` of all requests, in their order."""
        ...

    def remarks(self) -> str:
        """Remarks for the user (repeated tries, restarted engines); mostly none."""
        ...


def in_order(requests: Sequence[Request], answered: Iterator[Answered]) -> list[list[Completion]]:
    """Completions in the order of the requests, from a stream of them."""
    completions = {id(request): done for request, done in answered}
    return [completions[id(request)] for request in requests]


def failed(reason: str) -> Completion:
    """The completion of a request that could not be answered."""
    return Completion(text="", finish_reason="error", error=reason)
