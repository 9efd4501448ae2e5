"""Engines in processes of this machine, each on its own devices: `engine.data_parallel_backend: mp`.

The processes end with this one, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from tasks.core.engine.types import Engine, EngineError, Request
from tasks.core.engine.workers import Lost, Worker
from tasks.core.io.errors import reason_of

END_SECONDS = 10.0
"""How long a process may take to end before it is killed."""


class ProcessWorker(Worker):
    """A process with an engine."""

    def __init__(self, process: Any, connection: Connection) -> None:
        """`connection` is this side of the pipe to the process."""
        super().__init__()
        self.process, self.connection = process, connection

    def send(self, message: tuple[Any, ...]) -> None:
        """See `Worker.send`."""
        with suppress(OSError):
            self.connection.send(message)

    def receive(self) -> tuple[str, Any]:
        """See `Worker.receive`."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(END_SECONDS)
            raise Lost(f"died, exit code {self.process.exitcode}") from None

    def end(self, at_once: bool) -> None:
        """See `Worker.end`."""
        if not at_once:
            self.send(("close",))
            self.process.join(END_SECONDS)
        self.connection.close()
        if at_once or self.process.is_alive():
            self.process.kill()
            self.process.join()


class Processes:
    """`Launcher` of processes of this machine."""

    def __init__(self, count: int, tensor_parallel: int) -> None:
        """Share out the devices.

        Args:
            count: engines.
            tensor_parallel: GPUs of each.

        Raises:
            EngineError: too few GPUs.
        """
        self._environments = environments(count, tensor_parallel)

    def start(self, number: int, open_one: Callable[..., Engine], arguments: Mapping[str, Any]) -> ProcessWorker:
        """See `Launcher.start`."""
        context = multiprocessing.get_context("spawn")  # a forked process could not use a GPU
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, open_one, dict(arguments)), name="engine")
        with environment_set(self._environments[number]):
            process.start()
        there.close()
        return ProcessWorker(process, here)

    def ready(self, workers: Sequence[ProcessWorker], seconds: float) -> list[ProcessWorker]:
        """See `Launcher.ready`."""
        connections = wait([worker.connection for worker in workers], seconds)
        return [worker for worker in workers if worker.connection in connections]

    def close(self) -> None:
        """See `Launcher.close`."""


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


@contextmanager
def environment_set(environment: Mapping[str, str]) -> Iterator[None]:
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
    """Open an engine and answer requests until the other side is gone, which ends the process.

    Messages in: ("begin", sampling), ("ask", number, request) .., ("end",), again ("begin", ..) .., ("close",).
    Messages out: ("ready", None), then ("done", (number, completions)) .., or ("error", reason).
    """
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
