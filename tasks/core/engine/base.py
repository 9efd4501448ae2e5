"""What an engine is: rendered requests in, completions out, one bad request costing one result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from tasks.core.io.errors import StageError
from tasks.core.models import inputs

if TYPE_CHECKING:
    from tasks.core.video.clip import Clip

FinishReason = Literal["stop", "length", "error"]
GREEDY_BELOW = 1e-5
"""Temperatures under this pick the likeliest token."""


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
    """Seed of this request's own random stream: answers do not depend on what else is in the batch."""


@dataclass(frozen=True)
class Completion:
    """One answer."""

    text: str
    """Decoded without special tokens."""
    token_ids: list[int] = field(default_factory=list)
    """As sampled, with the end token if the answer ended by itself."""
    finish_reason: FinishReason = "stop"
    error: str = ""
    """Why there is no answer; empty unless `finish_reason` is "error"."""


class Engine(Protocol):
    """Answer generation with one model; a context manager that frees the model on exit."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as the model's prompt text."""
        ...

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int, n: int = 1
    ) -> list[list[Completion]]:
        """`n` answers for each request, in order.

        A request that cannot be answered (too long, medium and prompt at odds) gets one completion with
        `finish_reason` "error". Visual special tokens are never sampled.

        Raises:
            EngineError: the engine is beyond recovery.
        """
        ...


def open_engine(
    backend: str,
    model_path: Path | str,
    *,
    dtype: str = "float32",
    max_model_len: int = 1024,
    gpu_memory_utilization: float = 0.8,
    kv_cache_gb: int = 1,
    tensor_parallel: int = 1,
    batch_size: int = 64,
    rows_per_call: int | None = None,
    group_by_length: bool = True,
) -> Engine:
    """Load a checkpoint folder into an engine; the arguments are the fields of `params.Engine`.

    A `.yaml` file in the folder's place is an endpoint (`openai.py`), whatever the backend.

    Raises:
        ModelError: not a usable checkpoint folder.
        EngineError: unknown backend, a bad endpoint file, or the engine does not start.
    """
    if Path(model_path).suffix in (".yaml", ".yml"):
        from tasks.core.engine.openai import OpenAIEngine, read_endpoint

        return OpenAIEngine(read_endpoint(model_path))
    if backend == "vllm":
        from tasks.core.engine.vllm import VllmEngine

        return VllmEngine(
            model_path,
            dtype=dtype,
            max_model_len=max_model_len,
            gpu_memory_utilization=gpu_memory_utilization,
            kv_cache_gb=kv_cache_gb,
            tensor_parallel=tensor_parallel,
            batch_size=batch_size,
        )
    if backend == "transformers":
        from tasks.core.engine.transformers import TransformersEngine

        return TransformersEngine(
            model_path,
            dtype=dtype,
            max_model_len=max_model_len,
            rows_per_call=rows_per_call or batch_size,
            group_by_length=group_by_length,
        )
    raise EngineError(f"unknown engine {backend!r}; known: vllm, transformers")


def refusal(processor: Any, request: Request, max_model_len: int) -> str | None:
    """Why a request cannot be answered, or None when it can."""
    if (problem := inputs.mismatch(processor, request.prompt, request.clip, request.data_type)) is not None:
        return problem
    length = inputs.prompt_tokens(processor, request.prompt, request.clip)
    if length >= max_model_len:
        return f"prompt of {length} tokens leaves no room for an answer in max_model_len {max_model_len}"
    return None


def answer_admitted(
    processor: Any,
    requests: Sequence[Request],
    max_model_len: int,
    answer: Callable[[list[Request]], list[list[Completion]]],
) -> list[list[Completion]]:
    """Results of all requests, in order: refused ones as errors, the others by `answer`, a failing batch halved."""
    refusals = [refusal(processor, request, max_model_len) for request in requests]
    admitted = [request for request, reason in zip(requests, refusals, strict=True) if reason is None]
    answered = iter(answer_isolated(answer, admitted))
    return [next(answered) if reason is None else [failed(reason)] for reason in refusals]


def answer_isolated(
    answer: Callable[[list[Request]], list[list[Completion]]], requests: list[Request]
) -> list[list[Completion]]:
    """`answer(requests)`; a batch that raises ValueError, TypeError or KeyError is halved down to the culprit."""
    if not requests:
        return []
    try:
        return answer(requests)
    except (ValueError, TypeError, KeyError) as error:
        if len(requests) == 1:
            return [[failed(f"{type(error).__name__}: {error}".splitlines()[0])]]
    middle = len(requests) // 2
    return answer_isolated(answer, requests[:middle]) + answer_isolated(answer, requests[middle:])


def failed(reason: str) -> Completion:
    """The completion of a request that could not be answered."""
    return Completion(text="", finish_reason="error", error=reason)
