"""What processes tell each other, where the first alone talks to something outside. All of them call it together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from tasks.core.engine.types import EngineError
from tasks.core.io.errors import reason_of

T = TypeVar("T")


def rank() -> int:
    """Of this process; 0 for one alone."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def gathered(value: T) -> list[T]:
    """Every process's value, by rank, in the first process; nothing in the others."""
    if not torch.distributed.is_initialized():
        return [value]
    values: list[Any] | None = [None] * torch.distributed.get_world_size() if rank() == 0 else None
    torch.distributed.gather_object(value, values, 0)
    return values or []


def on_first(work: Callable[[], T], name: str) -> T:
    """What the first process's work gives or raises, in every process: none waits for an answer that does not come.

    Args:
        work: run in the first process alone.
        name: of the work, for errors that are not told by `work` itself.

    Raises:
        EngineError: the work failed.
    """
    outcome: list[Any] = [None]
    if rank() == 0:
        try:
            outcome = [work()]
        except EngineError as error:
            outcome = [type(error)(str(error))]
        except Exception as error:
            outcome = [EngineError(f"{name}: {type(error).__name__}: {reason_of(error)}")]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(outcome, 0)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    result: T = outcome[0]
    return result
