"""Calls to a vLLM server of rollouts: OpenAI-compatible, token ids in and out, with vLLM's routes for weights.

The server is started with `VLLM_SERVER_DEV_MODE=1` and `--enable-scale-out` (docs/scaling.md). Every call has a time
limit for the whole of it, from connecting to the last byte of the reply, and every failure is one line with the address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx

from tasks.core.engine.types import EngineError
from tasks.core.io.errors import reason_of
from tasks.core.models.protocols import Processor

POLL_SECONDS = 0.5
START = "start it as docs/scaling.md says"


class LostServerError(EngineError):
    """The server failed, or has other weights than it was given; what it lost can be sent anew."""


class Reply(NamedTuple):
    """Completions of one request."""

    ids: list[list[int]]
    log_probs: list[list[float]]


class RolloutServer:
    """One running server. Called by one process alone."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        """`url` is the server's root, without `/v1`; the limit is that of a call, and of the wait for the server."""
        self.url, self.timeout_seconds = url.rstrip("/"), timeout_seconds
        self.version = ""
        """What the weights under transfer are marked with."""
        self.model = ""

    # Facts.

    def check(self, processor: Processor, max_len: int, backend: str, dtype: str) -> None:
        """Refuse a server that could not sample for this policy.

        Raises:
            EngineError: says what differs.
        """
        self.wait()
        served = self.get("v1/models")["data"][0]
        self.model = served["id"]
        if served["max_model_len"] < max_len:
            raise self._refused(f"--max-model-len {served['max_model_len']} is below grpo.rollout_max_len ({max_len})")
        config = self.get("server_info?config_format=json")["vllm_config"]
        transfer = (config.get("weight_transfer_config") or {}).get("backend")
        if transfer != backend:
            raise self._refused(f"--weight-transfer-config names {transfer}, the trainer sends by {backend}")
        if (theirs := str(config["model_config"]["dtype"]).removeprefix("torch.")) != dtype:
            raise self._refused(f"--dtype {theirs}, grpo.dtype is {dtype}")
        if (config["model_config"].get("multimodal_config") or {}).get("mm_device_do_normalize"):
            raise self._refused("it would scale pixels a second time; start it with --no-mm-device-do-normalize")
        self._check_vocabulary(processor.tokenizer)

    def _check_vocabulary(self, tokenizer: Any) -> None:
        probe = "Which way? <think>A 7</think> é " + "".join(sorted(tokenizer.get_added_vocab()))
        own = list(tokenizer(probe, add_special_tokens=False)["input_ids"])
        if self.post("tokenize", {"prompt": probe, "add_special_tokens": False})["tokens"] != own:
            raise self._refused(f"its model ({self.model}) has another vocabulary than the policy")

    def weight_version(self) -> str:
        """Mark of the weights that it holds."""
        return str(self.get("weight_info")["weight_version"])

    def world_size(self) -> int:
        """Workers that take weights."""
        return int(self.get("get_world_size")["world_size"])

    def digests(self) -> dict[str, str]:
        """SHA-256 of every weight, by vLLM's names."""
        checksums: dict[str, str] = self.post("weight_checker", {"action": "checksum"})["checksums"]
        return checksums

    def wait(self) -> None:
        """Until the server is up.

        Raises:
            EngineError: it is not within the time limit.
        """
        end = time.monotonic() + self.timeout_seconds
        while True:
            try:
                self._call("GET", "health", None, limit=min(5.0, self.timeout_seconds))
                return
            except LostServerError as error:
                if time.monotonic() >= end:
                    raise EngineError(f"{error}; {START}") from error
            time.sleep(POLL_SECONDS)

    # Weights: what vLLM's trainer side asks of a client, and pausing.

    def pause(self) -> None:
        """Let nothing be computed, and forget what was computed with the weights so far."""
        self.post("pause?mode=abort&clear_cache=true")

    def resume(self) -> None:
        """Let it compute again."""
        self.post("resume")

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Have the workers meet the trainer."""
        self.post("init_weight_transfer_engine", {"init_info": init_info})

    def start_weight_update(self) -> None:
        """Open an update."""
        self.post("start_weight_update")

    def update_weights(self, update_info: Any) -> None:
        """Take weights of these names, types and shapes."""
        self.post("update_weights", {"update_info": update_info})

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Close an update, and mark the weights."""
        self.post("finish_weight_update", {"weight_version": weight_version or self.version})

    # Completions.

    def complete(self, bodies: Sequence[dict[str, Any]], version: str) -> list[Reply]:
        """Replies to all requests, which are under way at once.

        Raises:
            LostServerError: no answer in time, or by other weights than those of `version`.
            EngineError: the server refuses a request, or read another prompt than was sent.
        """

        async def all_of() -> list[Any]:
            limits = httpx.Limits(max_connections=64)
            async with httpx.AsyncClient(timeout=None, limits=limits) as client:
                sent = [self._send(client, "POST", "inference/v1/generate", body) for body in bodies]
                return await asyncio.gather(*sent)

        replies = self._in_time(all_of(), self.timeout_seconds, "completions")
        return [self._read(*pair, version) for pair in zip(replies, bodies, strict=True)]

    def _read(self, reply: Any, body: dict[str, Any], version: str) -> Reply:
        try:
            prompt = reply["prompt_token_ids"]
            choices = sorted(reply["choices"], key=lambda choice: choice["index"])
            ids = [list(choice["token_ids"]) for choice in choices]
            log_probs = [[float(each["logprob"]) for each in choice["logprobs"]["content"]] for choice in choices]
            versions = {span["version"] for choice in choices for span in choice["weight_versions"] or ()}
        except (KeyError, TypeError, ValueError) as error:
            raise LostServerError(f"{self._name}: a damaged reply: {type(error).__name__}: {error}") from error
        if prompt != body["token_ids"]:
            raise self._refused("it read another prompt than the trainer's")
        if len(ids) != body["sampling_params"]["n"] or any(len(a) != len(b) for a, b in zip(ids, log_probs, strict=True)):
            raise LostServerError(f"{self._name}: a damaged reply: completions or log-probabilities are missing")
        if versions - {version}:
            raise LostServerError(f"{self._name}: weights {sorted(versions)} answered, the trainer sent {version}")
        return Reply(ids, log_probs)

    # Calls.

    @property
    def _name(self) -> str:
        return f"grpo.rollout_server: {self.url}"

    def _refused(self, reason: str) -> EngineError:
        return EngineError(f"{self._name}: {reason}")

    def get(self, path: str) -> Any:
        """What the server says at a path."""
        return self._call("GET", path, None)

    def post(self, path: str, body: Any = None) -> Any:
        """What the server answers to a body."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: Any, limit: float | None = None) -> Any:
        async def once() -> Any:
            async with httpx.AsyncClient(timeout=None) as client:
                return await self._send(client, method, path, body)

        return self._in_time(once(), limit or self.timeout_seconds, path.partition("?")[0])

    def _in_time(self, work: Any, limit: float, what: str) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(limit):
                return await work

        try:
            return asyncio.run(bounded())
        except TimeoutError as error:
            raise LostServerError(f"{self._name}: {what}: no reply within {limit:g} s") from error
        except httpx.HTTPError as error:
            text = f"{type(error).__name__}: {reason_of(error)}"
            raise LostServerError(f"{self._name}: {what}: cannot be reached: {text}") from error

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, body: Any) -> Any:
        reply = await client.request(method, f"{self.url}/{path}", json=body)
        place = path.partition("?")[0]
        if reply.status_code in (403, 404):
            raise self._refused(f"{place}: {reply.status_code}; the server lacks this route: {START}")
        if reply.status_code >= 400:
            kind = EngineError if reply.status_code < 500 else LostServerError
            text = " ".join(reply.text.split())[:300]
            raise kind(f"{self._name}: {place}: {reply.status_code}: {text}")
        if not reply.content:
            return None
        try:
            return reply.json()
        except ValueError as error:
            raise LostServerError(f"{self._name}: {place}: not JSON: {reply.text[:80]!r}") from error
