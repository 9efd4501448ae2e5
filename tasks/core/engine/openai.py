"""Generation by any server that speaks OpenAI's chat interface (vLLM's own server, a hosted model).

A video is sent as its sampled frames, one picture each, before the text; what the server makes of their time is its own
affair.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from tasks.core.engine.endpoint import Endpoint
from tasks.core.engine.types import Completion, EngineError, FinishReason, Request, failed
from tasks.core.io.errors import reason_of


class OpenAIEngine:
    """`Engine` over `/chat/completions`."""

    takes_prime = False
    """An answer cannot be begun for the model."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connects at the first request."""
        self._endpoint = endpoint
        self._client = endpoint.client()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as JSON; the server renders them."""
        return json.dumps(messages, ensure_ascii=False)

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int, n: int = 1
    ) -> list[list[Completion]]:
        """See `Engine.generate`; a request the server refuses costs itself alone."""

        def answer(request: Request) -> list[Completion]:
            return chat(
                self._client,
                self._endpoint.model,
                with_pictures(json.loads(request.prompt), request),
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_tokens,
                seed=request.seed,
                n=n,
            )

        with ThreadPoolExecutor(self._endpoint.concurrency) as pool:
            return list(pool.map(answer, requests))


def chat(client: Any, model: str, messages: list[dict[str, Any]], **sampling: Any) -> list[Completion]:
    """Answers to one chat.

    Raises:
        EngineError: the server cannot be reached, refuses the key or keeps failing; not one request's fault.
    """
    import openai

    try:
        reply = client.chat.completions.create(model=model, messages=messages, **sampling)
    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
        return [failed(f"refused: {reason_of(error)}")]
    except openai.OpenAIError as error:
        raise EngineError(f"{client.base_url}: {type(error).__name__}: {reason_of(error)}") from error
    return [_completion(choice, reply.usage) for choice in reply.choices]


def _completion(choice: Any, usage: Any) -> Completion:
    reason: FinishReason = "length" if choice.finish_reason == "length" else "stop"
    # Servers report how many tokens, never which; what is counted is their number.
    count = int(usage.completion_tokens) if usage is not None else 0
    return Completion(text=choice.message.content or "", token_ids=[0] * count, finish_reason=reason)


def with_pictures(messages: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """The chat with its medium replaced by the request's frames, as PNG data URLs."""
    pictures = [] if request.clip is None else [_picture(frame) for frame in request.clip.frames]

    def shown(part: dict[str, Any]) -> list[dict[str, Any]]:
        return pictures if part["type"] in ("image", "video") else [part]

    return [
        {"role": turn["role"], "content": [one for part in turn["content"] for one in shown(part)]} for turn in messages
    ]


def _picture(frame: Any) -> dict[str, Any]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
