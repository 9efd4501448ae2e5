"""Several engines of one model that share the requests, each in a process of this machine or of a cluster.

    requests -> Feed -> the worker with the fewest under way -> its engine's stream -> completions as they are done

A completion depends on its request alone, so it does not matter which engine makes it. An engine that is lost (it or
its process or machine fails, or nothing comes for `LIMIT_SECONDS`) is started again, and what was under way there is
asked again. What was under way in two losses is asked alone at the end; if its engine is lost once more, it fails.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tasks.core.engine.feed import Feed
from tasks.core.engine.types import Answered, Completion, Engine, EngineError, Request, failed, in_order
from tasks.core.engine.workers import Launcher, Lost, Pending, Worker
from tasks.core.models import inputs, load

LOOK_SECONDS = 0.02
"""How often workers with room are checked while no request is ready."""
WAIT_SECONDS = 1.0
"""How often the limit is checked."""
LIMIT_SECONDS = 3600.0
"""An engine may take so long to start, and to complete a request while it has some."""
MOST_LOSSES = 8
"""Losses without a completion between them that end the run."""


class ParallelEngine:
    """`Engine` over `count` engines."""

    def __init__(
        self,
        launcher: Launcher,
        open_one: Callable[..., Engine],
        model_path: Path | str,
        *,
        count: int,
        batch_size: int,
        limit_seconds: float = LIMIT_SECONDS,
        **settings: Any,
    ) -> None:
        """Start the engines, all at once.

        Args:
            launcher: starts their processes; closed with this engine.
            open_one: opens an engine; a function of a module, for it is called in other processes.
            model_path: checkpoint folder.
            count: engines.
            batch_size: requests in each at once.
            limit_seconds: see `LIMIT_SECONDS`.
            settings: further arguments of `open_one`.

        Raises:
            ModelError: not a usable checkpoint folder.
            EngineError: an engine does not start.
        """
        # An engine may wait for a whole call's worth before it begins.
        most = max(batch_size, settings.get("rows_per_call") or 0)
        self._room = most + max(1, most // 4)
        self._launcher, self._open_one, self._count, self._limit = launcher, open_one, count, limit_seconds
        self._arguments = {"model_path": str(Path(model_path).resolve()), "batch_size": batch_size, **settings}
        self._broken = self._last_loss = ""
        self._losses = self._losses_in_a_row = self._asked_again = 0
        self._workers: list[Worker] = []
        try:
            self._processor = load.load_processor(model_path)
            for number in range(count):
                self._start(number)
            for worker in self._workers:
                self._open(worker)
        except BaseException:
            self._end(at_once=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end(at_once=bool(self._broken) or exc != (None, None, None))

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as the model's prompt text."""
        return inputs.prompt_text(self._processor, messages)

    def remarks(self) -> str:
        """How many engines were lost, and how many requests were asked again."""
        if not self._losses:
            return ""
        return f"engines lost: {self._losses} (last: {self._last_loss}); requests asked again: {self._asked_again}"

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> list[list[Completion]]:
        """See `Engine.generate`."""
        return in_order(requests, self.stream(requests, temperature=temperature, top_p=top_p, max_tokens=max_tokens))

    def stream(
        self, requests: Iterable[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> Iterator[Answered]:
        """See `Engine.stream`.

        Raises:
            EngineError: engines are lost again and again, none can be replaced, or an earlier stream was left before
                its end.
        """
        if self._broken:
            raise EngineError(self._broken)
        self._broken = "an earlier stream was left before its end"
        sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        suspects: list[Pending] = []
        with Feed(map(Pending, requests), max(1, self._room // 4) * self._count) as feed:
            yield from self._run(feed, sampling, suspects)
        with Feed(suspects, 1) as feed:
            yield from self._run(feed, sampling, None)
        self._broken = ""

    def _run(
        self, feed: Feed[Pending], sampling: Mapping[str, Any], suspects: list[Pending] | None
    ) -> Iterator[Answered]:
        """Answer what the feed gives; what was lost twice goes to `suspects`. Without that, each is asked alone."""
        again: deque[Pending] = deque()
        alone, numbers = suspects is None, itertools.count()
        while True:
            self._hand_out(feed, again, numbers, sampling, alone)
            if feed.ended and not again and not any(worker.under_way for worker in self._workers):
                return
            waiting = not feed.ended and any(self._has_room(worker, alone) for worker in self._workers)
            for worker in self._launcher.ready(self._workers, LOOK_SECONDS if waiting else WAIT_SECONDS):
                try:
                    kind, content = worker.receive()
                    if kind == "error":
                        raise Lost(content)
                except Lost as loss:
                    yield from self._lose(worker, str(loss), again, suspects)
                    continue
                worker.heard, worker.is_open = time.monotonic(), True
                if kind == "done":
                    self._losses_in_a_row = 0
                    number, completions = content
                    yield worker.under_way.pop(number).request, completions
            for worker in tuple(self._workers):
                if (worker.under_way or not worker.is_open) and time.monotonic() - worker.heard > self._limit:
                    yield from self._lose(worker, f"nothing came within {self._limit:g} s", again, suspects)

    def _has_room(self, worker: Worker, alone: bool) -> bool:
        return worker.is_open and len(worker.under_way) < (1 if alone else self._room)

    def _hand_out(
        self,
        feed: Feed[Pending],
        again: deque[Pending],
        numbers: Iterator[int],
        sampling: Mapping[str, Any],
        alone: bool,
    ) -> None:
        """Give requests that are ready to the workers with the most room; wait for one where all are idle."""
        while takers := [worker for worker in self._workers if self._has_room(worker, alone)]:
            worker = min(takers, key=lambda worker: len(worker.under_way))
            idle = not any(each.under_way or not each.is_open for each in self._workers)
            pending = again.popleft() if again else feed.take(wait=idle)
            if pending is None:
                break
            if not worker.under_way:
                worker.heard = time.monotonic()
            if not worker.is_streaming:
                worker.is_streaming = True
                worker.send(("begin", sampling))
            number = next(numbers)
            worker.under_way[number] = pending
            worker.send(("ask", number, pending.request))
            if alone:
                self._tell_end(worker)
        if feed.ended and not again:  # at once: an engine that waits for more to come would wait for ever
            for worker in self._workers:
                self._tell_end(worker)

    def _tell_end(self, worker: Worker) -> None:
        if worker.is_streaming:
            worker.is_streaming = False
            worker.send(("end",))

    def _lose(
        self, worker: Worker, reason: str, again: deque[Pending], suspects: list[Pending] | None
    ) -> Iterator[Answered]:
        """Start a worker's engine again and ask again for what was under way there.

        Raises:
            EngineError: engines are lost again and again, or none is left.
        """
        self._last_loss = f"engine {worker.number + 1} of {self._count}: {reason}"
        self._workers.remove(worker)
        worker.end(at_once=True)
        if worker.is_open:
            self._losses, self._losses_in_a_row = self._losses + 1, self._losses_in_a_row + 1
            self._start(worker.number)
        elif not self._workers:  # a replacement that does not start is not replaced
            raise EngineError(f"no engine is left; {self._last_loss}")
        if self._losses_in_a_row > max(MOST_LOSSES, 2 * self._count):
            raise EngineError(f"{self._losses_in_a_row} engines lost without a completion; {self._last_loss}")
        for pending in worker.under_way.values():
            pending.losses += 1
            if suspects is None:
                yield pending.request, [failed(f"its engine was lost {pending.losses} times: {reason}")]
                continue
            self._asked_again += 1
            (again if pending.losses < 2 else suspects).append(pending)

    def _start(self, number: int) -> None:
        worker = self._launcher.start(number, self._open_one, self._arguments)
        worker.number = number
        self._workers.append(worker)

    def _open(self, worker: Worker) -> None:
        """Wait for a worker's engine.

        Raises:
            EngineError: it does not start.
        """
        name = f"engine {worker.number + 1} of {self._count}"
        if not self._launcher.ready([worker], self._limit):
            raise EngineError(f"{name}: not ready within {self._limit:g} s")
        try:
            kind, content = worker.receive()
        except Lost as loss:
            raise EngineError(f"{name}: {loss}") from None
        if kind == "error":
            raise EngineError(f"{name}: {content}")
        worker.heard, worker.is_open = time.monotonic(), True

    def _end(self, at_once: bool) -> None:
        for worker in self._workers:
            worker.end(at_once)
        self._workers = []
        self._launcher.close()
