"""Several engines of one model that share the requests, each in its own process and on its own devices.

    requests -> Feed -> the process with the fewest under way -> its engine's stream -> completions as they are done

A completion depends on its request alone, so it does not matter which process makes it. The processes end with this
one, however it ends.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, Self

from tasks.core.engine.feed import Feed
from tasks.core.engine.types import Answered, Completion, Engine, EngineError, Request, in_order
from tasks.core.io.errors import reason_of
from tasks.core.models import inputs, load

LOOK_SECONDS = 0.02
"""How often processes with room are checked while no request is ready."""
END_SECONDS = 10.0
"""How long a process may take to end before it is killed."""


class Worker(NamedTuple):
    """A process with an engine."""

    process: Any
    connection: Connection
    under_way: dict[int, Request]


class ParallelEngine:
    """`Engine` over `count` engines."""

    def __init__(
        self,
        open_one: Callable[..., Engine],
        backend: str,
        model_path: Path | str,
        *,
        count: int,
        tensor_parallel: int,
        batch_size: int,
        **settings: Any,
    ) -> None:
        """Start the engines, all at once.

        Args:
            open_one: opens an engine; a function of a module, for it is called in other processes.
            backend: of each engine.
            model_path: checkpoint folder.
            count: engines.
            tensor_parallel: GPUs of each.
            batch_size: requests in each at once.
            settings: further arguments of `open_engine`.

        Raises:
            ModelError: not a usable checkpoint folder.
            EngineError: too few GPUs, or an engine does not start.
        """
        self._processor = load.load_processor(model_path)
        # An engine may wait for a whole call's worth before it begins.
        most = max(batch_size, settings.get("rows_per_call") or 0)
        self._room = most + max(1, most // 4)
        self._broken = ""
        arguments = {"backend": backend, "model_path": str(model_path), "tensor_parallel": tensor_parallel}
        arguments |= {"batch_size": batch_size, **settings}
        self._workers: list[Worker] = []
        try:
            for environment in environments(count, tensor_parallel):
                self._workers.append(_start(open_one, arguments, environment))
            for worker in self._workers:
                self._receive(worker)
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
        """See `Engine.remarks`."""
        return ""

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
            EngineError: a process failed or died, or an earlier stream was left before its end.
        """
        if self._broken:
            raise EngineError(self._broken)
        self._broken = "an earlier stream was left before its end"
        for worker in self._workers:
            worker.connection.send(("begin", {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}))
        numbers, end_sent = itertools.count(), False
        with Feed(requests, max(1, self._room // 4) * len(self._workers)) as feed:
            while True:
                self._hand_out(feed, numbers)
                if feed.ended and not end_sent:  # at once: an engine that waits for more to come would wait for ever
                    end_sent = True
                    self._tell_end()
                if not any(worker.under_way for worker in self._workers):
                    break
                full = feed.ended or all(len(worker.under_way) >= self._room for worker in self._workers)
                connections = [worker.connection for worker in self._workers if worker.under_way]
                for ready in wait(connections, None if full else LOOK_SECONDS):
                    worker = next(worker for worker in self._workers if worker.connection is ready)
                    number, completions = self._receive(worker)
                    yield worker.under_way.pop(number), completions
        self._broken = ""

    def _hand_out(self, feed: Feed[Request], numbers: Iterator[int]) -> None:
        """Give requests that are ready to the processes with the most room; wait for one where all are idle."""
        while True:
            worker = min(self._workers, key=lambda worker: len(worker.under_way))
            if len(worker.under_way) >= self._room:
                return
            request = feed.take(wait=not any(worker.under_way for worker in self._workers))
            if request is None:
                return
            number = next(numbers)
            worker.under_way[number] = request
            try:
                worker.connection.send(("ask", number, request))
            except OSError:
                self._receive(worker)  # says why it is gone

    def _tell_end(self) -> None:
        for worker in self._workers:
            try:
                worker.connection.send(("end",))
            except OSError:
                self._receive(worker)  # says why it is gone

    def _receive(self, worker: Worker) -> Any:
        """What a process sends: a number and its completions, or nothing once its engine is ready.

        Raises:
            EngineError: the engine failed, or the process is gone.
        """
        place = self._workers.index(worker) + 1
        name = f"engine {place} of {len(self._workers)}"
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(END_SECONDS)
            lost = f" with {len(worker.under_way)} requests under way" if worker.under_way else ""
            raise EngineError(f"{name} died{lost} (exit code {worker.process.exitcode})") from None
        if kind == "error":
            raise EngineError(f"{name}: {content}")
        return content

    def _end(self, at_once: bool) -> None:
        for worker in self._workers:
            if not at_once:
                with suppress(OSError):
                    worker.connection.send(("close",))
                worker.process.join(END_SECONDS)
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(END_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def environments(count: int, tensor_parallel: int) -> list[dict[str, str]]:
    """Environment of each process: its share of the GPUs, or of the CPU cores where there is no GPU.

    Raises:
        EngineError: fewer GPUs than are asked for.
    """
    import torch

    if not torch.cuda.is_available():
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // count))
        return [{"OMP_NUM_THREADS": threads}] * count
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return shares(gpus, count, tensor_parallel)


def shares(gpus: Sequence[str], count: int, tensor_parallel: int) -> list[dict[str, str]]:
    """`tensor_parallel` consecutive GPUs for each of `count` processes.

    Raises:
        EngineError: there are too few.
    """
    if len(gpus) < count * tensor_parallel:
        raise EngineError(
            f"engine.data_parallel {count} x engine.tensor_parallel {tensor_parallel} GPUs; there are {len(gpus)}"
        )
    starts = range(0, count * tensor_parallel, tensor_parallel)
    return [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[start : start + tensor_parallel])} for start in starts]


def _start(open_one: Callable[..., Engine], arguments: Mapping[str, Any], environment: Mapping[str, str]) -> Worker:
    context = multiprocessing.get_context("spawn")  # a forked process could not use a GPU
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, open_one, dict(arguments)), name="engine")
    with _set(environment):
        process.start()
    there.close()
    return Worker(process, here, {})


@contextmanager
def _set(environment: Mapping[str, str]) -> Iterator[None]:
    """These variables set while open; a process started meanwhile has them."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def serve(connection: Connection, open_one: Callable[..., Engine], arguments: dict[str, Any]) -> None:
    """Main function of a process: open an engine and answer requests until the parent is gone."""
    messages: queue.Queue[Any] = queue.Queue()

    def receive() -> None:
        while True:
            try:
                messages.put(connection.recv())
            except (EOFError, OSError):
                os._exit(1)  # nobody is there to answer; whatever the engine is doing, it ends

    threading.Thread(target=receive, name="receive", daemon=True).start()
    numbers: dict[int, int] = {}

    def requests() -> Iterator[Request]:
        while (message := messages.get())[0] == "ask":
            _, number, request = message
            numbers[id(request)] = number
            yield request

    try:
        with open_one(**arguments) as engine:
            connection.send(("ready", None))
            while (message := messages.get())[0] == "begin":
                for request, completions in engine.stream(requests(), **message[1]):
                    connection.send(("done", (numbers.pop(id(request)), completions)))
    except Exception as error:  # told to the process that waits, with its reason
        connection.send(("error", reason_of(error)))
        messages.join()  # until the other side has read it and is gone
