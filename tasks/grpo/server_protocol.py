"""Calls to a vLLM server of rollouts: token ids in and out, and vLLM's routes for weights.

The server is started with `VLLM_SERVER_DEV_MODE=1` and `--enable-scale-out` (docs/scaling.md). Every call has a time
limit for the whole of it, from connecting to the last byte of the reply; every failure is one line with the address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

import httpx

from tasks.core.engine.types import EngineError
from tasks.core.io.errors import reason_of

POLL_SECONDS, HEALTH_SECONDS = 0.5, 5.0
MOST_AT_ONCE = 64
START = "start it as docs/scaling.md says"
T = TypeVar("T")


class LostServerError(EngineError):
    """The server failed, or has other weights than it was given; what it lost can be sent anew."""


class Reply(NamedTuple):
    """Completions of one request."""

    ids: list[list[int]]
    log_probs: list[list[float]]


class ServerClient:
    """One running server. One process alone calls it."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        """`url` is the server's root, without `/v1`; the limit is that of a call, and of the wait for the server."""
        self.url, self.timeout_seconds = url.rstrip("/"), timeout_seconds

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"grpo.rollout_server: {self.url}"

    def refused(self, reason: str) -> EngineError:
        """An error that asking again does not mend."""
        return EngineError(f"{self.name}: {reason}")

    def lost(self, reason: str) -> LostServerError:
        """An error that asking again may mend."""
        return LostServerError(f"{self.name}: {reason}")

    def wait(self) -> None:
        """Until the server is up.

        Raises:
            EngineError: it is not within the time limit.
        """
        end = time.monotonic() + self.timeout_seconds
        while True:
            left = end - time.monotonic()
            try:
                self._call("GET", "health", None, limit=max(min(HEALTH_SECONDS, left), POLL_SECONDS))
                return
            except LostServerError as error:
                if end - time.monotonic() <= POLL_SECONDS:
                    raise EngineError(f"{error}; {START}") from error
            time.sleep(POLL_SECONDS)

    def weight_version(self) -> str:
        """Mark of the weights that it holds."""
        return str(self.part(self.get("weight_info"), "weight_info", "weight_version"))

    def digests(self) -> dict[str, str]:
        """SHA-256 of every weight, by vLLM's names."""
        answer = self.post("weight_checker", {"action": "checksum"})
        checksums = self.part(answer, "weight_checker", "checksums")
        if not isinstance(checksums, dict):
            raise self.refused("weight_checker: no checksums by name")
        return checksums

    def complete(self, bodies: Sequence[dict[str, Any]], version: str) -> list[Reply]:
        """Replies to all requests, which are under way at once.

        Args:
            bodies: one for each prompt.
            version: mark of the weights that are to answer.

        Raises:
            LostServerError: no answer in time, a damaged one, or one by other weights.
            EngineError: the server refuses a request, or read another prompt than was sent.
        """

        async def all_of() -> list[Any]:
            limits = httpx.Limits(max_connections=MOST_AT_ONCE)
            async with httpx.AsyncClient(timeout=None, limits=limits) as client:
                sent = [self._send(client, "POST", "inference/v1/generate", body) for body in bodies]
                return await asyncio.gather(*sent)

        replies = self._in_time(all_of(), self.timeout_seconds, "inference/v1/generate")
        return [self._read(*pair, version) for pair in zip(replies, bodies, strict=True)]

    def _read(self, reply: Any, body: dict[str, Any], version: str) -> Reply:
        try:
            prompt = reply["prompt_token_ids"]
            choices = sorted(reply["choices"], key=lambda choice: choice["index"])
            ids = [[int(token) for token in choice["token_ids"]] for choice in choices]
            log_probs = [[float(each["logprob"]) for each in choice["logprobs"]["content"]] for choice in choices]
            versions = {str(span["version"]) for choice in choices for span in choice.get("weight_versions") or ()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self.lost(f"a damaged reply: {type(error).__name__}: {error}") from error
        if prompt != body["token_ids"]:
            raise self.refused("it read another prompt than the trainer's")
        lengths = [len(each) for each in ids]
        if len(ids) != body["sampling_params"]["n"] or 0 in lengths or lengths != [len(each) for each in log_probs]:
            raise self.lost("a damaged reply: completions or log-probabilities are missing")
        if others := versions - {version}:
            raise self.lost(f"weights {', '.join(sorted(others))} answered, the trainer sent {version}")
        return Reply(ids, log_probs)

    def get(self, path: str) -> Any:
        """What the server says at a path."""
        return self._call("GET", path, None)

    def post(self, path: str, body: Any = None, limit_seconds: float | None = None) -> Any:
        """What the server answers to a body; within less time where a limit is given."""
        return self._call("POST", path, body, limit_seconds)

    def part(self, answer: Any, route: str, *keys: str | int) -> Any:
        """A value within an answer.

        Raises:
            EngineError: it is not there.
        """
        for place, key in enumerate(keys):
            try:
                answer = answer[key]
            except (KeyError, IndexError, TypeError):
                where = ".".join(map(str, keys[: place + 1]))
                raise self.refused(f"{route}: no {where} in the answer; is it vLLM 0.32? {START}") from None
        return answer

    def _call(self, method: str, path: str, body: Any, limit: float | None = None) -> Any:
        async def once() -> Any:
            async with httpx.AsyncClient(timeout=None) as client:
                return await self._send(client, method, path, body)

        return self._in_time(once(), limit or self.timeout_seconds, path.partition("?")[0])

    def _in_time(self, work: Coroutine[Any, Any, T], limit: float, what: str) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(limit):
                return await work

        try:
            return asyncio.run(bounded())
        except TimeoutError as error:
            raise self.lost(f"{what}: no reply within {limit:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self.lost(f"{what}: cannot be reached: {type(error).__name__}: {reason_of(error)}") from error

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, body: Any) -> Any:
        reply = await client.request(method, f"{self.url}/{path}", json=body)
        route = path.partition("?")[0]
        if reply.status_code in (403, 404, 405):
            raise self.refused(f"{route}: {reply.status_code}; the server lacks this route: {START}")
        if reply.status_code >= 300:
            text = f"{route}: {reply.status_code}: {' '.join(reply.text.split())[:300]}"
            raise self.refused(text) if reply.status_code < 500 else self.lost(text)
        if not reply.content:
            return None
        try:
            return reply.json()
        except ValueError as error:
            raise self.lost(f"{route}: not JSON: {reply.text[:80]!r}") from error
