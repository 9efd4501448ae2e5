"""The first process's side of vLLM's weight transfer to a rollout server."""

from __future__ import annotations

import hashlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import torch

from tasks.core.engine.types import EngineError
from tasks.core.io.errors import reason_of
from tasks.grpo.engine_weights import LANGUAGE
from tasks.grpo.server_protocol import ServerClient

Meta = tuple[str, torch.dtype, tuple[int, ...]]
"""Name, type and shape of a weight as it is sent."""
POLL_SECONDS = 0.1


def backend_of(device: torch.device) -> str:
    """What carries weights from a device."""
    return "nccl" if device.type == "cuda" else "gloo"


def norm_name(name: str) -> str | None:
    """Name from the layer on of a norm of the language model, which vLLM neither packs nor splits; else None."""
    _, inside, rest = name.rpartition(LANGUAGE)
    return rest.removeprefix("model.") if inside and rest.endswith("norm.weight") else None


class Told:
    """vLLM's client of a transfer: tells the server, and keeps why it failed.

    When the server fails, the trainer's side may be waiting for workers that will not come.
    """

    def __init__(self, server: ServerClient) -> None:
        self._server = server
        self.mark = ""
        """What the weights under way are marked with."""
        self.failure: EngineError | None = None

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Have the workers meet the trainer."""
        self._tell("init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        """Open an update."""
        self._tell("start_weight_update")

    def update_weights(self, update_info: Any) -> None:
        """Take weights of these names, types and shapes."""
        self._tell("update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Close an update, and mark the weights."""
        self._tell("finish_weight_update", {"weight_version": weight_version or self.mark})

    def _tell(self, route: str, body: Any = None) -> None:
        try:
            self._server.post(route, body)
        except EngineError as error:
            self.failure = error
            raise


class Transfer:
    """A connection to the server's workers; works in a thread, so that a dead server stops no gather of weights."""

    def __init__(self, server: ServerClient, meta: Sequence[Meta], device: torch.device) -> None:
        """Meet the server's workers.

        Raises:
            LostServerError: not within the time limit.
        """
        from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

        self._server, self._device, self._told, self.rounds = server, device, Told(server), 0
        self._limit = server.timeout_seconds
        self._queue: queue.Queue[tuple[str, torch.Tensor]] = queue.Queue(maxsize=2)
        self._digests: dict[str, str] = {}
        outer = self

        class Source(WeightSource):  # type: ignore[misc]
            def metadata(self) -> list[Any]:
                return [ParamMeta(*each) for each in meta]

            def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
                for _ in meta:
                    yield outer._queue.get(timeout=outer._limit)

        self._task = Task(lambda: self._connect(Source()), device)
        self._engine = self._result(self._limit, "meeting the server's workers")

    @property
    def mark(self) -> str:
        """Of the weights that were sent last."""
        return self._told.mark

    def _connect(self, source: Any) -> Any:
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

        world = self._server.part(self._server.get("get_world_size"), "get_world_size", "world_size")
        parts = urlsplit(self._server.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), self._limit) as towards:
            address = towards.getsockname()[0]
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        where = {"master_address": address, "master_port": port, "world_size": 1 + int(world), "rank": 0}
        info: Any
        if backend_of(self._device) == "nccl":
            from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

            info = NCCLTrainerInitInfo(**where)
        else:
            from tasks.grpo.gloo_transfer import GlooTrainerInitInfo

            info = GlooTrainerInitInfo(**where, timeout_seconds=self._limit)
        return WeightTransferTrainerFactory.trainer_init(info, client=self._told, source=source)

    def begin(self, mark: str) -> None:
        """Begin to send weights of this mark."""
        self._told.mark = mark
        self.rounds += 1
        self._end = time.monotonic() + self._limit
        self._task = Task(self._engine.send_weights, self._device)

    def put(self, name: str, value: torch.Tensor) -> None:
        """Send one weight; of a transfer that has failed the rest is dropped, and `finish` says why."""
        if value.is_cuda:
            torch.cuda.current_stream().synchronize()
        if self.rounds == 1 and (norm := norm_name(name)) is not None:
            self._digests[norm] = digest_of(value)
        while not self._task.ended and self._told.failure is None and time.monotonic() < self._end:
            with suppress(queue.Full):
                self._queue.put((name, value), timeout=POLL_SECONDS)
                return

    def finish(self) -> None:
        """Wait until all are there.

        Raises:
            LostServerError: they are not within the time limit.
        """
        self._result(max(self._end - time.monotonic(), POLL_SECONDS), "weights")

    def compare(self) -> None:
        """Refuse a server whose norms are not, all of them, those that were sent in the first round.

        Raises:
            EngineError: names the first.
        """
        held = {norm: digest for name, digest in self._server.digests().items() if (norm := norm_name(name))}
        differ = sorted(norm for norm in self._digests.keys() | held if held.get(norm) != self._digests.get(norm))
        if differ or not held:
            raise self._server.refused(
                f"its weights are not those sent, {differ[0] if differ else 'no norm'} first; does it serve the "
                "policy's model?"
            )

    def _result(self, limit: float, what: str) -> Any:
        """What the thread gave, or why the server did not let it."""
        end = time.monotonic() + limit
        while not self._task.wait(POLL_SECONDS):
            if self._told.failure is not None:
                raise self._told.failure
            if time.monotonic() >= end:
                raise self._server.lost(f"{what}: not done within {self._limit:g} s")
        outcome = self._told.failure or self._task.outcome
        if isinstance(outcome, EngineError):
            raise outcome
        if isinstance(outcome, BaseException):
            raise self._server.lost(f"{what}: {type(outcome).__name__}: {reason_of(outcome)}") from outcome
        return outcome


class Task:
    """Work in a thread that nothing waits for at the end of the process."""

    def __init__(self, work: Callable[[], Any], device: torch.device) -> None:
        self.outcome: Any = None
        """What the work gave, or the exception that ended it."""
        self._done = threading.Event()

        def run() -> None:
            try:
                if device.type == "cuda":
                    torch.cuda.set_device(device)
                self.outcome = work()
            except BaseException as error:
                self.outcome = error
            self._done.set()

        threading.Thread(target=run, name="weight transfer", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether there is an outcome."""
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Whether there is one by then."""
        return self._done.wait(seconds)


def digest_of(value: torch.Tensor) -> str:
    """SHA-256 of a tensor's bytes, as vLLM's weight checker makes it."""
    raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(raw).hexdigest()
