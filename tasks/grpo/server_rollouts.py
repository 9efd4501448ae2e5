"""Rollouts by a vLLM server on other GPUs, on the weights that the trainer has at that step.

    requests of all processes --> first process --HTTP--> server: token ids and pixels in, token ids out
    weights, cast, then gathered by all --> first process --vLLM's weight transfer--> server, marked with their version

Only the first process talks to the server; what it gets, or why it gets nothing, it tells the others, so that none
waits for ever. The server computes nothing of a prompt itself: it gets the trainer's token ids and pixels.
"""

from __future__ import annotations

import hashlib
import queue
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import torch

from tasks.core.backbones import NAMES, of_processor
from tasks.core.engine.types import EngineError
from tasks.core.io.errors import reason_of
from tasks.core.models.protocols import Model, Processor
from tasks.core.text import opened_by
from tasks.core.train.sharding import whole_weights
from tasks.grpo.engines import Encode, Policy, RolloutRequest, completion_of_ids
from tasks.grpo.rollout import Completion
from tasks.grpo.server_protocol import LostServerError, RolloutServer

FAMILIES = ("qwen2_5_vl",)
"""Families whose placeholder is one run of tokens, tried with the server."""
T = TypeVar("T")


class ServerRollouts:
    """`Rollouts` by a server. What it loses (a restart, a transfer cut short) is sent anew once per step."""

    def __init__(
        self,
        server: RolloutServer,
        sampling: Any,
        processor: Processor,
        ends: Sequence[int],
        *,
        dtype: str,
        max_len: int,
    ) -> None:
        """Check the server; all processes call it together.

        Args:
            server: where it is.
            sampling: the `grpo.sampling` section.
            processor: of the policy.
            ends: tokens that end a completion.
            dtype: of the server's weights.
            max_len: prompt plus completion, tokens.

        Raises:
            EngineError: the server is not there, or does not fit the policy.
        """
        self._server, self._sampling, self._ends = server, sampling, list(ends)
        self._tokenizer, self._backbone = processor.tokenizer, of_processor(processor)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._run = uuid.uuid4().hex[:12]
        self._transfer: Transfer | None = None
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if not set(self._backbone.model_types) & set(FAMILIES):
            raise EngineError(
                f"grpo.rollout_engine: vllm_server takes {', '.join(FAMILIES)}, not {self._backbone.model_types[0]}"
            )
        on_first(lambda: server.check(processor, max_len, backend, dtype))

    def complete(self, policy: Policy, encode: Encode, requests: Sequence[RolloutRequest]) -> list[list[Completion]]:
        """See `Rollouts.complete`; all processes call it together. Completions carry the server's log-probabilities.

        Raises:
            EngineError: the server failed twice on these requests, or refused one.
        """
        everyones = of_all([self._body(request) for request in requests])
        bodies = [body for own in everyones for body in own]
        first = sum(len(own) for own in everyones[: rank()])
        for attempt in range(2):
            try:
                self.sync(policy)
                replies = on_first(lambda: self._server.complete(bodies, self._mark(policy)))
                break
            except LostServerError as error:
                if attempt:
                    raise EngineError(f"{error} (after a second try)") from error
                if rank() == 0:
                    print(f"grpo: rollout server failed, asked again: {reason_of(error)}", file=sys.stderr)
        return [
            [
                completion_of_ids(ids, self._tokenizer, self._ends, log_probs, opened_by(request.text))
                for ids, log_probs in zip(reply.ids, reply.log_probs, strict=True)
            ]
            for reply, request in zip(replies[first:], requests, strict=False)
        ]

    def close(self) -> None:
        """Let the server go; it runs on."""
        self._transfer = None

    def _mark(self, policy: Policy) -> str:
        return f"{self._run}-{policy.version}"

    def sync(self, policy: Policy) -> None:
        """Send the policy's weights, unless the server has them; all processes call it together.

        Raises:
            LostServerError: the server or the transfer failed.
            EngineError: the server does not hold what was sent.
        """
        mark = self._mark(policy)
        if not on_first(lambda: self._behind(mark)):
            return
        meta = [
            (name, self._dtype if value.is_floating_point() else value.dtype, tuple(value.shape))
            for name, value in policy.model.state_dict().items()
        ]
        on_first(lambda: self._open(meta, mark, policy.model.device))
        transfer = self._transfer if rank() == 0 else None
        if transfer is not None or policy.sharded:
            for pair in whole_weights(policy.model, self._dtype):
                if transfer is not None:
                    transfer.put(*pair)
        on_first(lambda: self._finish(mark))

    def _behind(self, mark: str) -> bool:
        self._server.wait()
        held = self._server.weight_version()
        if self._transfer is not None and held != self._transfer.mark:
            self._transfer = None  # started again since: nothing of the connection is left
        return held != mark

    def _open(self, meta: Sequence[tuple[str, torch.dtype, tuple[int, ...]]], mark: str, device: torch.device) -> None:
        self._server.pause()
        if self._transfer is None:
            with suppress(EngineError):  # of a trainer before this one
                self._server.post("shutdown_weight_transfer_engine")
            self._transfer = Transfer(self._server, meta, device)
        self._transfer.begin(mark)

    def _finish(self, mark: str) -> None:
        transfer, self._transfer = self._transfer, None
        assert transfer is not None
        try:
            transfer.finish()
        finally:
            with suppress(EngineError):  # the reason is told by what failed before
                self._server.resume()
        if (held := self._server.weight_version()) != mark:
            raise LostServerError(f"grpo.rollout_server: weights are marked {held} after {mark} was sent")
        if transfer.rounds == 1:
            self._compare(transfer.digests)
        self._transfer = transfer

    def _compare(self, sent: dict[str, str]) -> None:
        """Refuse a server whose norms, which vLLM neither packs nor splits, are not those that were sent."""
        held = {name.rpartition("language_model.")[2].removeprefix("model."): v for name, v in self._server.digests().items()}
        differ = sorted(name for name, digest in sent.items() if held.get(name) != digest)
        if differ or not sent:
            raise EngineError(f"grpo.rollout_server: the server's weights are not those sent; first: {differ[:1]}")

    def _body(self, request: RolloutRequest) -> dict[str, Any]:
        """A request as the server takes it: one for all completions of a view, whose seeds count from the first."""
        sampling, encoded = self._sampling, request.view.encoded
        body: dict[str, Any] = {
            "token_ids": encoded.ids.tolist(),
            "return_token_ids": True,
            "sampling_params": {
                "n": len(request.seeds),
                "seed": request.seeds[0],
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": sampling.max_tokens,
                "stop_token_ids": self._ends,
                "bad_words": list(self._backbone.visual_tokens),
                "logprobs": 0,
                "detokenize": False,
            },
        }
        if encoded.kind:
            body["features"] = features_of(self._backbone, encoded, self._dtype)
        return body


def features_of(backbone: Any, encoded: Any, dtype: torch.dtype) -> dict[str, Any]:
    """A prompt's medium as vLLM's route takes it: pixels as the processor made them, and where they belong."""
    from vllm.entrypoints.scale_out.token_in_token_out.mm_serde import encode_mm_kwargs_item
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

    name = NAMES[encoded.kind]
    pixels = {key: value.to(dtype) for key, value in backbone.pixels([encoded]).items()}
    placing = backbone.placing([encoded])
    [grid] = [value for key, value in placing.items() if key.endswith("grid_thw")]
    fields = {key: MultiModalFieldConfig.flat_from_sizes(name, grid.prod(-1)) for key in pixels}
    fields |= {key: MultiModalFieldConfig.batched(name, keep_on_cpu=True) for key in placing}
    [item] = MultiModalKwargsItems.from_hf_inputs({**pixels, **placing}, fields)[name]
    text = encode_mm_kwargs_item(item)
    places = (encoded.kinds == encoded.kind).nonzero().flatten()
    return {
        "mm_hashes": {name: [hashlib.sha256(text.encode()).hexdigest()]},
        "mm_placeholders": {name: [{"offset": int(places[0]), "length": len(places)}]},
        "kwargs_data": {name: [text]},
    }


class Transfer:
    """The first process's side of vLLM's weight transfer; works in a thread, so that a dead server stops no gather."""

    def __init__(
        self, server: RolloutServer, meta: Sequence[tuple[str, torch.dtype, tuple[int, ...]]], device: torch.device
    ) -> None:
        """Meet the server's workers.

        Raises:
            LostServerError: not within the time limit.
        """
        from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

        self._server, self._device, self.mark, self.rounds = server, device, "", 0
        self._limit = server.timeout_seconds
        self._queue: queue.Queue[tuple[str, torch.Tensor]] = queue.Queue(maxsize=2)
        self.digests: dict[str, str] = {}
        outer = self

        class Source(WeightSource):  # type: ignore[misc]
            def metadata(self) -> list[Any]:
                return [ParamMeta(*each) for each in meta]

            def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
                for _ in meta:
                    yield outer._queue.get(timeout=outer._limit)

        self._task = Task(lambda: self._connect(Source()), device)
        self._engine = self._task.result(self._limit, "meeting the server's workers")

    def _connect(self, source: Any) -> Any:
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

        parts = urlsplit(self._server.url)
        with socket.create_connection((parts.hostname or "", parts.port or 80), self._limit) as towards:
            address = towards.getsockname()[0]
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        where = {"master_address": address, "master_port": port, "world_size": 1 + self._server.world_size(), "rank": 0}
        info: Any
        if self._device.type == "cuda":
            from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

            info = NCCLTrainerInitInfo(**where)
        else:
            from tasks.grpo.gloo_transfer import GlooTrainerInitInfo

            info = GlooTrainerInitInfo(**where, timeout_seconds=self._limit)
        return WeightTransferTrainerFactory.trainer_init(info, client=self._server, source=source)

    def begin(self, mark: str) -> None:
        """Begin to send weights of this mark."""
        self.mark = self._server.version = mark
        self.rounds += 1
        self._end = time.monotonic() + self._limit
        self._task = Task(self._engine.send_weights, self._device)

    def put(self, name: str, value: torch.Tensor) -> None:
        """Send one weight; of a transfer that has failed the rest is dropped, and `finish` says why."""
        if value.is_cuda:
            torch.cuda.current_stream().synchronize()
        if self.rounds == 1 and name.endswith("norm.weight") and "language_model." in name:
            raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
            self.digests[name.rpartition("language_model.")[2].removeprefix("model.")] = hashlib.sha256(raw).hexdigest()
        while not self._task.ended and time.monotonic() < self._end:
            with suppress(queue.Full):
                self._queue.put((name, value), timeout=0.1)
                return

    def finish(self) -> None:
        """Wait until all are there.

        Raises:
            LostServerError: they are not within the time limit.
        """
        self._task.result(max(self._end - time.monotonic(), 0.1), "weights")


class Task:
    """Work in a thread that nothing waits for at the end of the process."""

    def __init__(self, work: Callable[[], Any], device: torch.device) -> None:
        self._outcome: queue.Queue[Any] = queue.Queue()
        self.ended = False

        def run() -> None:
            try:
                if device.type == "cuda":
                    torch.cuda.set_device(device)
                outcome = work()
            except BaseException as error:
                outcome = error
            self.ended = True
            self._outcome.put(outcome)

        threading.Thread(target=run, name="rollout server", daemon=True).start()

    def result(self, limit: float, what: str) -> Any:
        """What the work gave.

        Raises:
            LostServerError: it failed, or has not ended within the limit.
        """
        try:
            outcome = self._outcome.get(timeout=limit)
        except queue.Empty:
            raise LostServerError(f"grpo.rollout_server: {what}: not done in time") from None
        if isinstance(outcome, EngineError):
            raise outcome
        if isinstance(outcome, BaseException):
            reason = f"{type(outcome).__name__}: {reason_of(outcome)}"
            raise LostServerError(f"grpo.rollout_server: {what}: {reason}") from outcome
        return outcome


def rank() -> int:
    """Of this process; 0 for one alone."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def of_all(value: T) -> list[T]:
    """Every process's value, by rank; all call it together."""
    if not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def on_first(work: Callable[[], T]) -> T:
    """What the first process's work gives or raises, in every process; all call it together."""
    outcome: list[Any] = [None]
    if rank() == 0:
        try:
            outcome = [work()]
        except EngineError as error:
            outcome = [type(error)(str(error))]
        except Exception as error:
            outcome = [EngineError(f"grpo.rollout_server: {type(error).__name__}: {reason_of(error)}")]
    if torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(outcome, 0)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    result: T = outcome[0]
    return result
