"""Requests prepared in a thread while an engine works, so that it does not wait for clips to be decoded."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.2
"""How often the reading thread, when its queue is full, checks whether items are still wanted."""


class _End:
    """Marks the end of the items."""


class Feed(Generic[T]):
    """Items of an iterable, read by a daemon thread at most `ahead` items ahead; a context manager that ends it."""

    def __init__(self, items: Iterable[T], ahead: int) -> None:
        """Starts reading."""
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(max(1, ahead))
        self._error: BaseException | None = None
        self._closed = threading.Event()
        self._ended = False
        threading.Thread(target=self._read, name="feed", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        with contextlib.suppress(queue.Full):  # a thread that waits in `take` goes on
            self._queue.put_nowait(_End())

    def take(self, wait: bool) -> T | None:
        """The next item; None at the end, and, without `wait`, also when none is ready.

        Raises whatever the iterable raised, after the items before it.
        """
        if self._ended:
            return None
        try:
            item = self._queue.get(block=wait)
        except queue.Empty:
            return None
        if isinstance(item, _End):
            self._ended = True
            if self._error is not None:
                raise self._error
            return None
        return item

    @property
    def ended(self) -> bool:
        """Whether the last item was taken."""
        return self._ended

    def _read(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as error:  # raised in the thread that takes
            self._error = error
        finally:
            if callable(close := getattr(self._items, "close", None)):
                close()
            self._put(_End())

    def _put(self, item: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False
