"""Rollouts by a vLLM server on other GPUs, on the weights that the trainer has at that step.

    requests of all processes --> first process --HTTP--> server: token ids and pixels in, token ids out
    weights, cast, then gathered by all --> first process --vLLM's weight transfer--> server, marked with their version

Only the first process talks to the server; what it gets, or why it gets nothing, it tells the others, so that none
waits for ever. The server computes nothing of a prompt itself: it gets the trainer's token ids and pixels.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from tasks.core.backbones import NAMES, of_processor
from tasks.core.engine.types import EngineError
from tasks.core.io.errors import reason_of
from tasks.core.models.protocols import Processor
from tasks.core.text import opened_by
from tasks.core.train.rows import EncodedPrompt
from tasks.core.train.sharding import whole_weights
from tasks.grpo.engines import Encode, Policy, RolloutRequest, completion_of_ids
from tasks.grpo.processes import gathered, on_first, rank
from tasks.grpo.rollout import Completion
from tasks.grpo.server_checks import check_server
from tasks.grpo.server_protocol import LostServerError, ServerClient
from tasks.grpo.server_transfer import Meta, Transfer, backend_of

FAMILIES = ("qwen2_5_vl",)
"""Families whose placeholder is one run of tokens, tried with the server."""
LAST_CALL_SECONDS = 10.0
"""Limit of calls that only tidy up."""
T = TypeVar("T")


class ServerRollouts:
    """`Rollouts` by a server. What it loses (a restart, a transfer cut short) is sent anew once per step."""

    def __init__(
        self,
        server: ServerClient,
        folder: Path | str,
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
            folder: checkpoint that the policy was loaded from.
            sampling: the `grpo.sampling` section.
            processor: of the policy.
            ends: tokens that end a completion.
            dtype: of the server's weights.
            max_len: prompt plus completion, tokens.

        Raises:
            EngineError: the server is not there, or does not fit the policy; or vLLM is not installed.
        """
        self._server, self._sampling, self._ends = server, sampling, list(ends)
        self._tokenizer, self._backbone = processor.tokenizer, of_processor(processor)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._run = uuid.uuid4().hex[:12]
        self._transfer: Transfer | None = None
        if not set(self._backbone.model_types) & set(FAMILIES):
            family = self._backbone.model_types[0]
            raise EngineError(f"grpo.rollout_engine: vllm_server takes {', '.join(FAMILIES)}, not {family}")
        if importlib.util.find_spec("vllm") is None:
            raise EngineError("grpo.rollout_engine: vllm_server needs vLLM here too, for its transfer of weights")
        backend = backend_of(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self._first(lambda: check_server(server, processor, folder, max_len=max_len, backend=backend, dtype=dtype))

    def complete(self, policy: Policy, encode: Encode, requests: Sequence[RolloutRequest]) -> list[list[Completion]]:
        """See `Rollouts.complete`; all processes call it together. Completions carry the server's log-probabilities.

        Raises:
            EngineError: the server failed twice on these requests, or refused one.
        """
        everyones = gathered([self._body(request) for request in requests])
        if not self._first(lambda: any(everyones)):
            return []
        for attempt in range(2):
            try:
                self.sync(policy)
                replies = self._first(lambda: self._server.complete(sum(everyones, []), self._mark(policy)))
                break
            except LostServerError as error:
                if attempt:
                    raise EngineError(f"{error} (after a second try)") from error
                if rank() == 0:
                    print(f"grpo: rollout server failed, asked again: {reason_of(error)}", file=sys.stderr)
        before = self._first(lambda: [sum(map(len, everyones[:number])) for number in range(len(everyones))])[rank()]
        own = replies[before : before + len(requests)]
        return [
            [
                completion_of_ids(ids, self._tokenizer, self._ends, log_probs, opened_by(request.text))
                for ids, log_probs in zip(reply.ids, reply.log_probs, strict=True)
            ]
            for reply, request in zip(own, requests, strict=True)
        ]

    def close(self) -> None:
        """Let the server go; it runs on."""
        self._transfer = None

    def _first(self, work: Callable[[], T]) -> T:
        return on_first(work, self._server.name)

    def _mark(self, policy: Policy) -> str:
        return f"{self._run}-{policy.version}"

    def sync(self, policy: Policy) -> None:
        """Send the policy's weights, unless the server has them; all processes call it together.

        Raises:
            LostServerError: the server or the transfer failed.
            EngineError: the server does not hold what was sent.
        """
        mark = self._mark(policy)
        if not self._first(lambda: self._behind(mark)):
            return
        meta: list[Meta] = [
            (name, self._dtype if value.is_floating_point() else value.dtype, tuple(value.shape))
            for name, value in policy.model.state_dict().items()
        ]
        self._first(lambda: self._open(meta, mark, policy.model.device))
        transfer = self._transfer if rank() == 0 else None
        if transfer is not None or policy.sharded:
            for pair in whole_weights(policy.model, self._dtype):
                if transfer is not None:
                    transfer.put(*pair)
        self._first(lambda: self._finish(mark))

    def _behind(self, mark: str) -> bool:
        self._server.wait()
        held = self._server.weight_version()
        if self._transfer is not None and held != self._transfer.mark:
            self._transfer = None  # started again since: nothing of the connection is left
        return held != mark

    def _open(self, meta: Sequence[Meta], mark: str, device: torch.device) -> None:
        """Let nothing be computed, forget what was computed with the weights so far, and begin to send."""
        self._server.post("pause?mode=abort&clear_cache=true")
        if self._transfer is None:
            with suppress(EngineError):  # of a trainer before this one
                self._server.post("shutdown_weight_transfer_engine", limit_seconds=LAST_CALL_SECONDS)
            self._transfer = Transfer(self._server, meta, device)
        self._transfer.begin(mark)

    def _finish(self, mark: str) -> None:
        transfer, self._transfer = self._transfer, None
        assert transfer is not None
        try:
            transfer.finish()
        finally:
            with suppress(EngineError):  # what failed before is told
                self._server.post("resume", limit_seconds=LAST_CALL_SECONDS)
        if (held := self._server.weight_version()) != mark:
            raise self._server.lost(f"weights are marked {held} after {mark} was sent")
        if transfer.rounds == 1:
            transfer.compare()
        self._transfer = transfer

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


def features_of(backbone: Any, encoded: EncodedPrompt, dtype: torch.dtype) -> dict[str, Any]:
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
