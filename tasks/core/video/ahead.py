"""Reading ahead: threads read what will be asked for while the asker does something else.

    expect(a b c d)      a b c d are read in this order, as far as there is room
    take(a)              read: given at once | being read: waited for | still queued: read here and now

Decoders release the interpreter lock, so threads do what processes would, without copies of the frames. What is read,
in which order it is used and what it raises are the same for any number of threads: a read that fails ahead of time is
forgotten, and done again by `take`, which raises then.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, Self, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
R = TypeVar("R")

JOIN_SECONDS = 5.0
"""How long the end of a run waits for a read under way; the threads are daemons and hold no process back."""


class Ahead(Generic[K, R]):
    """`read(key)` of expected keys in `workers` daemon threads; a context manager that ends them.

    For one asking thread. With 0 workers nothing is read before `take`. In a process forked from the one with the
    threads, which do not follow, it is the same.
    """

    def __init__(
        self,
        read: Callable[[K], R],
        workers: int,
        *,
        size: Callable[[R], int] = lambda _: 0,
        limit: float = math.inf,
    ) -> None:
        """Set up; threads start with the first `expect`.

        Args:
            read: called from any thread.
            workers: threads.
            size: bytes of what was read.
            limit: bytes that may wait to be taken, reads under way counted as the largest so far; one always may.
        """
        self._read, self._workers, self._size, self._limit = read, workers, size, limit
        self._changed = threading.Condition()
        self._queue: deque[K] = deque()
        self._wanted: set[K] = set()
        self._reading: set[K] = set()
        self._done: dict[K, R] = {}
        self._largest = 0
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._process = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def expect(self, keys: Iterable[K]) -> None:
        """Replace what is to be read, in order of use; what was read and is no longer expected is dropped."""
        if not self._workers or self._closed:
            return
        if not self._threads:
            self._start()
        if self._process != os.getpid():
            return
        with self._changed:
            order = list(dict.fromkeys(keys))
            self._wanted = set(order)
            self._done = {key: value for key, value in self._done.items() if key in self._wanted}
            self._queue = deque(key for key in order if key not in self._done and key not in self._reading)
            self._changed.notify_all()

    def take(self, key: K) -> R:
        """What was read of `key`, or `read(key)`; it is not kept. Raises what `read` raises."""
        if self._process == os.getpid():
            with self._changed:
                if key in self._queue:
                    self._queue.remove(key)
                self._wanted.add(key)
                while key in self._reading and not self._closed:
                    self._changed.wait()
                self._wanted.discard(key)
                if key in self._done:
                    value = self._done.pop(key)
                    self._changed.notify_all()
                    return value
        return self._read(key)

    def close(self) -> None:
        """Drop what is expected and end the threads; `take` goes on without them."""
        if self._process != os.getpid() or self._closed:
            return
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._done.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def _start(self) -> None:
        self._process = os.getpid()
        self._threads = [threading.Thread(target=self._work, name="ahead", daemon=True) for _ in range(self._workers)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or (self._queue and self._has_room()))
                if self._closed:
                    return
                key = self._queue.popleft()
                self._reading.add(key)
            values: list[R] = []
            # Whatever it raises, `take` meets it again in the thread that has to deal with it.
            with contextlib.suppress(BaseException):
                values.append(self._read(key))
            with self._changed:
                self._reading.discard(key)
                for value in values:
                    self._largest = max(self._largest, self._size(value))
                    if key in self._wanted and not self._closed:
                        self._done[key] = value
                self._changed.notify_all()

    def _has_room(self) -> bool:
        waiting = len(self._done) + len(self._reading)
        return not waiting or (waiting + 1) * self._largest <= self._limit


def in_batches(
    items: Sequence[T], size: int, prepare: Callable[[T], R], workers: int
) -> Iterator[tuple[Sequence[T], list[R]]]:
    """Consecutive batches of `size` items, each with `prepare(item)` of its items; the next one is prepared meanwhile.

    Args:
        items: all of them.
        size: of a batch; the last may be smaller.
        prepare: called from any thread.
        workers: threads that prepare ahead; 0 prepares a batch when it is asked for.
    """
    ahead: Ahead[int, R] = Ahead(lambda place: prepare(items[place]), workers)
    with ahead:
        for start in range(0, len(items), size):
            places = range(start, min(start + size, len(items)))
            ahead.expect(range(start, min(start + 2 * size, len(items))))
            yield items[start : start + size], [ahead.take(place) for place in places]
