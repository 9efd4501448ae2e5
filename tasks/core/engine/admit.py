"""Which requests an engine takes on, and what a batch that fails costs: the request at fault, no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from tasks.core.engine.types import Completion, Request, failed
from tasks.core.io.errors import reason_of
from tasks.core.models import inputs
from tasks.core.text import opened_by

Answer = Callable[[list[Request]], list[list[Completion]]]
"""Completions of requests, in order."""


def refusal(processor: Any, request: Request, max_model_len: int) -> str | None:
    """Why a request cannot be answered, or None when it can."""
    if (problem := inputs.mismatch(processor, request.prompt, request.clip, request.data_type)) is not None:
        return problem
    length = inputs.prompt_tokens(processor, request.prompt, request.clip)
    if length >= max_model_len:
        return f"prompt of {length} tokens leaves no room for an answer in max_model_len {max_model_len}"
    return None


def answer_admitted(
    processor: Any, requests: Sequence[Request], max_model_len: int, answer: Answer
) -> list[list[Completion]]:
    """Results of all requests, in order: refused ones as errors, the others by `answer`, a failing batch halved."""
    refusals = [refusal(processor, request, max_model_len) for request in requests]
    admitted = [request for request, reason in zip(requests, refusals, strict=True) if reason is None]
    completed = answer_isolated(answer, admitted)
    whole = [[with_opening(one, request) for one in own] for request, own in zip(admitted, completed, strict=True)]
    answered = iter(whole)
    return [next(answered) if reason is None else [failed(reason)] for reason in refusals]


def with_opening(completion: Completion, request: Request) -> Completion:
    """The completion as read: behind the think tag that the prompt's template opened for it."""
    if completion.error:
        return completion
    return dataclasses.replace(completion, text=opened_by(request.prompt) + completion.text)


def answer_isolated(answer: Answer, requests: list[Request]) -> list[list[Completion]]:
    """`answer(requests)`; a batch that raises ValueError, TypeError or KeyError is halved down to the culprit."""
    if not requests:
        return []
    try:
        return answer(requests)
    except (ValueError, TypeError, KeyError) as error:
        if len(requests) == 1:
            return [[failed(f"{type(error).__name__}: {reason_of(error)}")]]
    middle = len(requests) // 2
    return answer_isolated(answer, requests[:middle]) + answer_isolated(answer, requests[middle:])
