"""Engines in actors of a Ray cluster: `engine.data_parallel_backend: ray`. The one importer of Ray.

The cluster is that of RAY_ADDRESS (`host:port`, or `auto`), or one of this machine that ends with the process.
Checkpoint and code are read where they lie, so the nodes share the project's folder and its environment.

Ray Data's own processor (`ray.data.llm`) is not used: it gives out and takes back blocks of rows, so that a lost actor
costs a block, and it knows vLLM alone.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tasks.core.engine.processes import environment_set, environments, serve
from tasks.core.engine.types import Engine, EngineError
from tasks.core.engine.workers import Lost, Worker
from tasks.core.io.errors import reason_of

JOIN_SECONDS = 60.0
"""A cluster that is not joined by then cannot be reached."""
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Set unless the caller's environment says otherwise."""
QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
TRIAL = "import ray, sys; ray.init(address=sys.argv[1], logging_level=40, log_to_driver=False)"


class Node(NamedTuple):
    """What a node has, and what an engine takes of one."""

    gpus: int
    cpus: int


class EngineActor:
    """Lives in a process of the cluster: an engine in a thread, and a pipe to it."""

    def __init__(self, open_one: Callable[..., Engine], arguments: Mapping[str, Any]) -> None:
        """Begin to open the engine."""
        self._pipe, there = multiprocessing.Pipe()  # also makes frames this process's own, which may be written to
        self._early: dict[int, Any] = {}
        self._next = 0

        def run() -> None:
            with there:  # closed whatever happens, so that nobody listens in vain
                serve(there, open_one, dict(arguments))

        threading.Thread(target=run, name="engine", daemon=True).start()

    def tell(self, number: int, message: tuple[Any, ...]) -> None:
        """Take a message; calls may overtake each other, hence the number."""
        self._early[number] = message
        while self._next in self._early:
            self._pipe.send(self._early.pop(self._next))
            self._next += 1

    def hear(self) -> tuple[str, Any]:
        """Next message of the engine; waits for it."""
        return self._pipe.recv()


class ActorWorker(Worker):
    """An actor with an engine."""

    def __init__(self, ray: Any, actor: Any) -> None:
        """`actor` is a handle of `EngineActor`."""
        super().__init__()
        self.actor, self._ray, self._numbers = actor, ray, itertools.count()
        self.reply = self._hear()

    def _hear(self) -> Any:
        return self.actor.hear.options(concurrency_group="hear").remote()

    def send(self, message: tuple[Any, ...]) -> None:
        """See `Worker.send`."""
        with suppress(self._ray.exceptions.RayError):
            self.actor.tell.options(concurrency_group="tell").remote(next(self._numbers), message)

    def receive(self) -> tuple[str, Any]:
        """See `Worker.receive`."""
        try:
            message = self._ray.get(self.reply)
            self.reply = self._hear()
            return message
        except self._ray.exceptions.RayTaskError as error:
            raise Lost(reason_of(error.cause)) from None
        except self._ray.exceptions.RayError as error:
            raise Lost(" ".join(str(error).split("\n")[0].split()) or type(error).__name__) from None

    def end(self, at_once: bool) -> None:
        """See `Worker.end`."""
        with suppress(Exception):  # it is gone, or the cluster is
            self._ray.kill(self.actor)


class Cluster:
    """`Launcher` of actors."""

    def __init__(self, count: int, tensor_parallel: int) -> None:
        """Join or start the cluster.

        Args:
            count: engines.
            tensor_parallel: GPUs of each.

        Raises:
            EngineError: Ray is not installed, the cluster does not answer, or it is too small.
        """
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise EngineError(f"engine.data_parallel_backend ray: {reason_of(error)}") from None
        self._ray, self._folder = ray, ""
        address = os.environ.get("RAY_ADDRESS", "local")
        is_main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            if address == "local":
                self._start_local(environments(count, tensor_parallel)[0], count)
            else:
                _try(address)
                ray.init(address=address, **QUIET)
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            share = share_of([Node(int(r.get("GPU", 0)), int(r.get("CPU", 0))) for r in nodes], count, tensor_parallel)
        except Exception as error:  # whatever the library raises, there is no cluster
            self.close()
            raise EngineError(f"Ray ({address}): {reason_of(error)}") from error
        finally:
            if is_main:
                signal.signal(signal.SIGTERM, before)  # Ray takes it for itself
        # Ray gives an actor as many threads (OMP_NUM_THREADS) as it has CPUs, unless the environment says otherwise.
        options = {"num_gpus": share.gpus, "num_cpus": share.cpus, "scheduling_strategy": "SPREAD"}
        self._actor = ray.remote(concurrency_groups={"tell": 1, "hear": 1}, **options)(EngineActor)

    def _start_local(self, environment: Mapping[str, str], count: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="ray-")
        threads = {name: value for name, value in environment.items() if name == "OMP_NUM_THREADS"}
        # Ray listens to the network and wants a token, which it would keep in the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
        with environment_set(threads):
            self._ray.init(
                address="local",
                num_cpus=count,
                include_dashboard=False,
                _temp_dir=self._folder,
                **QUIET,
            )

    def start(self, number: int, open_one: Callable[..., Engine], arguments: Mapping[str, Any]) -> ActorWorker:
        """See `Launcher.start`."""
        return ActorWorker(self._ray, self._actor.remote(open_one, dict(arguments)))

    def ready(self, workers: Sequence[ActorWorker], seconds: float) -> list[ActorWorker]:
        """See `Launcher.ready`."""
        replies = {worker.reply: worker for worker in workers}
        done, _ = self._ray.wait(list(replies), timeout=seconds)
        if done:  # and those that are done too
            done, _ = self._ray.wait(list(replies), num_returns=len(replies), timeout=0)
        return [replies[reply] for reply in done]

    def close(self) -> None:
        """Leave the cluster; one of this machine ends."""
        self._ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _try(address: str) -> None:
    """Join a cluster in another process first: where there is none, Ray waits, or ends the process that asks.

    Raises:
        EngineError: it is not joined in time.
    """
    try:
        command = [sys.executable, "-c", TRIAL, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=JOIN_SECONDS)
    except subprocess.TimeoutExpired:
        raise EngineError(f"no answer within {JOIN_SECONDS:g} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise EngineError(lines[-1] if lines else f"exit code {done.returncode}")


def share_of(nodes: Sequence[Node], count: int, tensor_parallel: int) -> Node:
    """What each of `count` engines takes: `tensor_parallel` GPUs of a node, or, without GPUs, as many CPUs as fit.

    Raises:
        EngineError: the cluster is too small.
    """
    if any(node.gpus for node in nodes):
        places = sum(node.gpus // tensor_parallel for node in nodes)
        if places < count:
            raise EngineError(
                f"engine.data_parallel {count}: the cluster has room for {places} engines of "
                f"engine.tensor_parallel {tensor_parallel} GPUs on one node"
            )
        return Node(tensor_parallel, 1)
    for cpus in range(max((node.cpus for node in nodes), default=0), 0, -1):
        if sum(node.cpus // cpus for node in nodes) >= count:
            return Node(0, cpus)
    raise EngineError(f"engine.data_parallel {count}: the cluster has {sum(node.cpus for node in nodes)} CPUs")
