"""Which requests an engine accepts; and batches that fail, of which only the faulty request is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from tasks.core.engine.types import Completion, Request, failed
from tasks.core.io.errors import reason_of
from tasks.core.models import inputs
from tasks.core.models.protocols import Processor
from tasks.core.text import opened_by

R = TypeVar("R")


def refusal(processor: Processor, request: Request, max_model_len: int) -> str | None:
    """Why a request cannot be answered, or None when it can."""
    if (problem := inputs.mismatch(processor, request.prompt, request.clip, request.data_type)) is not None:
        return problem
    length = inputs.prompt_tokens(processor, request.prompt, request.clip)
    if length >= max_model_len:
        return f"prompt of {length} tokens leaves no room for an answer in max_model_len {max_model_len}"
    return None


def with_opening(completion: Completion, request: Request) -> Completion:
    """The completion behind the think tag that its prompt already has."""
    if completion.error:
        return completion
    return dataclasses.replace(completion, text=opened_by(request.prompt) + completion.text)


def answer_isolated(answer: Callable[[list[R]], list[Completion]], rows: list[R]) -> list[Completion]:
    """`answer(rows)`; a batch that raises ValueError, TypeError or KeyError is halved down to the culprit."""
    if not rows:
        return []
    try:
        return answer(rows)
    except (ValueError, TypeError, KeyError) as error:
        if len(rows) == 1:
            return [failed(f"{type(error).__name__}: {reason_of(error)}")]
    middle = len(rows) // 2
    return answer_isolated(answer, rows[:middle]) + answer_isolated(answer, rows[middle:])
