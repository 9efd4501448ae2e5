"""Workers of several engines, as the side that asks them sees them: messages, and who starts them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.core.engine.types import Engine, Request


class Lost(Exception):
    """The engine of a worker is gone; the text says why."""


@dataclass(eq=False)
class Pending:
    """A request on its way to a completion."""

    request: Request
    losses: int = 0
    """How often it was under way where an engine was lost."""


class Worker(ABC):
    """A process with an engine (`tasks.core.engine.processes.serve`) as this side sees it."""

    number: int = 0
    """Its place among the engines."""

    def __init__(self) -> None:
        self.under_way: dict[int, Pending] = {}
        self.is_open = False
        self.is_streaming = False
        """It was told that requests come, and not yet that none does."""
        self.heard = time.monotonic()
        """When it last sent something, or began to have requests."""

    @abstractmethod
    def send(self, message: tuple[Any, ...]) -> None:
        """Send a message; that a worker is gone is told by `receive` alone."""

    @abstractmethod
    def receive(self) -> tuple[str, Any]:
        """Next message; waits for it.

        Raises:
            Lost: the worker is gone.
        """

    @abstractmethod
    def end(self, at_once: bool) -> None:
        """End it; `at_once`: without waiting for its engine to close."""


class Launcher(Protocol):
    """Where workers run."""

    def start(self, number: int, open_one: Callable[..., Engine], arguments: Mapping[str, Any]) -> Any:
        """Start the worker of this number; it opens its engine by `open_one(**arguments)`."""
        ...

    def ready(self, workers: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Workers with something to receive, after at most so many seconds."""
        ...

    def close(self) -> None:
        """Give back what the launcher itself holds."""
        ...
