"""What an engine is: rendered requests in, completions out, one bad request costing one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from tasks.core.io.errors import StageError

if TYPE_CHECKING:
    from tasks.core.video.clip import Clip

FinishReason = Literal["stop", "length", "error"]


class EngineError(StageError):
    """The engine itself failed (start-up, or beyond recovery); not one request's fault."""


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


class Engine(Protocol):
    """Generation with one model; a context manager that frees the model on exit."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as the model's prompt text."""
        ...

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int, n: int = 1
    ) -> list[list[Completion]]:
        """`n` completions for each request, in order; copy i is sampled with the request's seed + i.

        A request that cannot be answered (too long, clip and prompt at odds) gets one completion with
        `finish_reason` "error". Visual special tokens are never sampled. The sampling settings of the checkpoint's
        generation_config.json have no effect; its end tokens have.

        Raises:
            EngineError: the engine is beyond recovery.
        """
        ...


def failed(reason: str) -> Completion:
    """The completion of a request that could not be answered."""
    return Completion(text="", finish_reason="error", error=reason)
