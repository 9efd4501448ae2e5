"""Generation by any server that speaks OpenAI's chat interface (vLLM's own server, a hosted model).

A video is sent as its sampled frames, one picture each, before the text; what the server makes of their time is its own
affair.

    400, 422, other 4xx                    refused: costs the request
    401, 403, 404                          the endpoint is not to be used: ends the run
    429, 408, 409, 5xx, no connection,     tried again after a pause that doubles, or as long as the server asks for;
    no reply in time, a cut or damaged     after the last try it costs the request; it ends the run when no reply of any
    reply                                  kind ever came, or when many requests in a row were lost so
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import queue
import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Self

from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.feed import Feed
from tasks.core.engine.types import Answered, Completion, EngineError, FinishReason, Request, failed, in_order
from tasks.core.io.errors import reason_of

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
UNUSABLE = (401, 403, 404)
PASSING = (408, 409, 429)
MOST_TOKENS = 10**8
"""No reply and no prompt has more."""
MANY_LOST = 8
"""An endpoint counts as down after this many lost requests in a row; more where more run at once."""


class DamagedReplyError(Exception):
    """A reply that is not of the chat interface."""


class _Done:
    """Marks the end of the results."""


class OpenAIEngine:
    """`Engine` over `/chat/completions`."""

    takes_prime = False
    """The interface cannot begin a completion for the model."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connects at the first request."""
        self._endpoint = endpoint
        self._tries, self._requests, self._lost_in_a_row, self._heard = 0, 0, 0, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held between streams."""

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as JSON; the server renders them."""
        return json.dumps(messages, ensure_ascii=False)

    def remarks(self) -> str:
        """How many requests were sent, and how many more tries they took."""
        again = self._tries - self._requests
        return f"{self._requests} requests to {self._endpoint.base_url}, {again} of them tried again" if again else ""

    def stream(
        self, requests: Iterable[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> Iterator[Answered]:
        """See `Engine.stream`; at most `concurrency` requests are under way."""
        sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        results: queue.Queue[Answered | BaseException | _Done] = queue.Queue()
        loop = asyncio.new_event_loop()
        with Feed(requests, self._endpoint.concurrency) as feed:
            serving = loop.create_task(self._serve(feed, results, sampling))
            thread = threading.Thread(target=_run, args=(loop, serving, results), name="endpoint", daemon=True)
            thread.start()
            try:
                while not isinstance(result := results.get(), _Done):
                    if isinstance(result, BaseException):
                        raise result
                    yield result
            finally:
                with suppress(RuntimeError):  # the loop has ended, with nothing left to cancel
                    loop.call_soon_threadsafe(serving.cancel)

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> list[list[Completion]]:
        """See `Engine.generate`."""
        return in_order(requests, self.stream(requests, temperature=temperature, top_p=top_p, max_tokens=max_tokens))

    async def _serve(self, feed: Feed[Request], results: queue.Queue[Any], sampling: dict[str, Any]) -> None:
        import openai

        room = asyncio.Semaphore(self._endpoint.concurrency)
        key = os.environ.get(self._endpoint.api_key_env) or "none"
        client = openai.AsyncOpenAI(
            base_url=self._endpoint.base_url, api_key=key, max_retries=0, timeout=self._endpoint.timeout_seconds
        )

        # Looked up before any time limit runs: the library loads itself at the first look.
        create = client.chat.completions.with_raw_response.create

        async def answer(request: Request) -> None:
            results.put((request, await self._answer(create, request, sampling)))
            room.release()

        async with client, asyncio.TaskGroup() as group:
            while True:
                await room.acquire()
                request = await asyncio.to_thread(feed.take, True)
                if request is None:
                    break
                group.create_task(answer(request))

    async def _answer(self, create: Any, request: Request, sampling: dict[str, Any]) -> list[Completion]:
        """`n` completions; of a server that gives fewer at once the others are asked for one by one."""
        messages = await asyncio.to_thread(with_pictures, json.loads(request.prompt), request)
        made: list[Completion] = []
        while len(made) < request.n:
            wanted = request.n - len(made) if not made else 1
            reply = await self._try(create, messages, sampling | {"seed": request.seed + len(made), "n": wanted})
            if isinstance(reply, str):
                return [failed(reply.encode(errors="backslashreplace").decode())]
            made += reply[:wanted]
            if (refused := next((done for done in reply if done.error), None)) is not None:
                return [refused]
        return made

    async def _try(
        self, create: Any, messages: list[dict[str, Any]], sampling: dict[str, Any]
    ) -> list[Completion] | str:
        """Completions, or why there are none.

        Raises:
            EngineError: the endpoint is not to be used, or answers nothing at all.
        """
        import openai

        reason = ""
        self._requests += 1
        for attempt in range(self._endpoint.retries + 1):
            asked = None
            self._tries += 1
            try:
                async with asyncio.timeout(self._endpoint.timeout_seconds):
                    raw = await create(model=self._endpoint.model, messages=messages, **sampling)
                self._heard = True
                completions = completions_of(raw.text)
                self._lost_in_a_row = 0
                return completions
            except openai.APIStatusError as error:
                self._heard = True
                reason = f"{error.status_code}: {reason_of(error)}"
                if error.status_code in UNUSABLE:
                    raise EngineError(f"{self._endpoint.base_url}: {reason}") from error
                if error.status_code < 500 and error.status_code not in PASSING:
                    return f"refused: {reason}"
                asked = error.response.headers.get("retry-after")
            except TimeoutError:
                reason = f"no reply within {self._endpoint.timeout_seconds:g} s"
            except (openai.OpenAIError, DamagedReplyError) as error:
                reason = f"{type(error).__name__}: {reason_of(error)}"
            if attempt < self._endpoint.retries:
                await asyncio.sleep(pause(attempt, asked))
        tries = f"{self._endpoint.retries + 1} tries, the last: {reason}"
        self._lost_in_a_row += 1
        if not self._heard or self._lost_in_a_row >= max(MANY_LOST, 2 * self._endpoint.concurrency):
            raise EngineError(f"{self._endpoint.base_url}: answers nothing; {tries}")
        return f"no answer in {tries}"


def _run(loop: asyncio.AbstractEventLoop, serving: Any, results: queue.Queue[Any]) -> None:
    """Run a task to its end and pass on what it raised."""
    try:
        loop.run_until_complete(serving)
        results.put(_Done())
    except asyncio.CancelledError:
        results.put(_Done())
    except BaseExceptionGroup as group:
        results.put(group.exceptions[0])
    except BaseException as error:
        results.put(error)
    finally:
        loop.close()


def pause(attempt: int, asked: str | None) -> float:
    """Seconds before the next try: what the server asks for, else twice as many each time, a part of them by chance."""
    if asked is not None and asked.strip().replace(".", "", 1).isdecimal():
        return min(float(asked), LONGEST_PAUSE_SECONDS)
    return min(FIRST_PAUSE_SECONDS * 2**attempt, LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.0)


def completions_of(body: str) -> list[Completion]:
    """Completions of a reply's body.

    Reasoning that a server returns apart (`reasoning_content`; vLLM: `reasoning`) is put back, in its tags;
    without a closing one where it was cut off.

    Raises:
        DamagedReplyError: not JSON, without choices, with text that is no Unicode or a number of tokens that cannot be.
    """
    try:
        reply = json.loads(body)
        choices = reply["choices"]
        usage = reply.get("usage") or {}
        counted = int(usage.get("completion_tokens") or 0), int(usage.get("prompt_tokens") or 0)
        if not all(0 <= count <= MOST_TOKENS for count in counted):
            raise DamagedReplyError(f"{counted[0]} tokens for a prompt of {counted[1]}")
        if not choices:
            raise DamagedReplyError("a reply without choices")
        return [_completion(choice, counted[0] // len(choices), counted[1]) for choice in choices]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedReplyError(f"{type(error).__name__}: {reason_of(error)}: {body[:80]!r}") from error


def _completion(choice: dict[str, Any], tokens: int, prompt_tokens: int) -> Completion:
    message = choice["message"]
    text = message.get("content") or ""
    if not isinstance(text, str):
        raise TypeError("content is no text")
    if choice.get("finish_reason") == "content_filter":
        return failed("refused: content_filter")
    reason: FinishReason = "length" if choice.get("finish_reason") == "length" else "stop"
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    if reasoning and "<think>" not in text:
        is_cut = reason == "length" and not text
        text = "<think>" + reasoning + ("" if is_cut else "</think>") + text
    text.encode()
    # Servers report how many tokens, never which; what is counted is their number.
    return Completion(text=text, token_ids=[0] * tokens, finish_reason=reason, prompt_tokens=prompt_tokens)


def with_pictures(messages: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """The chat with its medium replaced by the request's frames, as PNG data URLs."""
    pictures = [] if request.clip is None else [_picture(frame) for frame in request.clip.frames]

    def shown(part: dict[str, Any]) -> list[dict[str, Any]]:
        return pictures if part["type"] in ("image", "video") else [part]

    def content(turn: dict[str, Any]) -> Any:
        parts = turn["content"]
        return parts if isinstance(parts, str) else [new for part in parts for new in shown(part)]

    return [{"role": turn["role"], "content": content(turn)} for turn in messages]


def _picture(frame: Any) -> dict[str, Any]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
