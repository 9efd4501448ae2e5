"""Generation by transformers: any device, nothing extra to install; the reference for the vLLM engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from transformers import LogitsProcessorList

from tasks.core.backbones import EncodedPrompt, of_processor
from tasks.core.engine.admit import answer_isolated, refusal, with_opening
from tasks.core.engine.feed import Feed
from tasks.core.engine.sampler import RowSampler, end_tokens, generation_settings, without_checkpoint_settings
from tasks.core.engine.types import Answered, Completion, FinishReason, Request, failed, in_order
from tasks.core.models import inputs, load


class Row(NamedTuple):
    """One completion to sample."""

    request: Request
    copy: int
    length: int
    """Tokens of the prompt."""


class TransformersEngine:
    """`Engine` over `model.generate`, `rows_per_call` completions at a time, padded on the left."""

    def __init__(
        self,
        model_path: Path | str,
        *,
        dtype: str,
        max_model_len: int,
        rows_per_call: int,
        window: int = 0,
        group_by_length: bool = True,
    ) -> None:
        """Load the checkpoint.

        Args:
            model_path: checkpoint folder.
            dtype: of weights and arithmetic.
            max_model_len: prompt plus answer, tokens.
            rows_per_call: most completions of a call of the model.
            window: requests that may wait, out of which calls are put together.
            group_by_length: whether prompts of similar length share a call; otherwise consecutive ones.

        Raises:
            ModelError: not a usable checkpoint folder.
        """
        self._processor = load.load_processor(model_path)
        self._model = load.load_model(model_path, dtype)
        self._max_model_len = max_model_len
        self._rows_per_call, self._group_by_length = rows_per_call, group_by_length
        self._window = max(window, rows_per_call)
        self._ends = end_tokens(self._model, self._processor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def render(self, messages: list[dict[str, Any]]) -> str:
        """Chat messages as the model's prompt text."""
        return inputs.prompt_text(self._processor, messages)

    def stream(
        self, requests: Iterable[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> Iterator[Answered]:
        """See `Engine.stream`: calls of `rows_per_call` completions, out of the `window` requests that wait."""

        def answer(rows: list[Row]) -> list[Completion]:
            return self._answer(rows, temperature, top_p, max_tokens)

        waiting: list[Row] = []
        done: dict[int, list[Completion | None]] = {}
        with Feed(requests, self._window) as feed:
            while True:
                while not feed.ended and len(waiting) < max(self._window, self._rows_per_call):
                    # More than a call's worth is not waited for.
                    request = feed.take(wait=len(waiting) < self._rows_per_call)
                    if request is None:
                        break
                    reason = refusal(self._processor, request, self._max_model_len)
                    if reason is not None:
                        yield request, [failed(reason)]
                        continue
                    length = inputs.prompt_tokens(self._processor, request.prompt, request.clip)
                    waiting += [Row(request, copy, length) for copy in range(request.n)]
                    done[id(request)] = [None] * request.n
                if not waiting:
                    if feed.ended:
                        return
                    continue
                places = next_call([row.length for row in waiting], self._rows_per_call, self._group_by_length)
                chosen = [waiting[place] for place in places]
                waiting = [row for place, row in enumerate(waiting) if place not in places]
                for row, completion in zip(chosen, answer_isolated(answer, chosen), strict=True):
                    copies = done[id(row.request)]
                    copies[row.copy] = with_opening(completion, row.request)
                    if None not in copies:
                        yield row.request, kept(done.pop(id(row.request)))

    def remarks(self) -> str:
        """See `Engine.remarks`."""
        return ""

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int
    ) -> list[list[Completion]]:
        """See `Engine.generate`."""
        return in_order(requests, self.stream(requests, temperature=temperature, top_p=top_p, max_tokens=max_tokens))

    def _answer(self, rows: list[Row], temperature: float, top_p: float, max_tokens: int) -> list[Completion]:
        requests = [row.request for row in rows]
        prompts = [inputs.encode_one(self._processor, each.prompt, each.clip, each.data_type) for each in requests]
        completions: dict[int, Completion] = {}
        for group in of_processor(self._processor).joining(prompts):
            made = self._answer_joined(
                [rows[place] for place in group], [prompts[place] for place in group], temperature, top_p, max_tokens
            )
            completions |= zip(group, made, strict=True)
        return [completions[place] for place in range(len(rows))]

    @torch.inference_mode()
    def _answer_joined(
        self, rows: list[Row], prompts: list[EncodedPrompt], temperature: float, top_p: float, max_tokens: int
    ) -> list[Completion]:
        batch = inputs.batch(self._processor, prompts)
        rooms = [min(max_tokens, self._max_model_len - int(length)) for length in batch["attention_mask"].sum(1)]
        seeds = [row.request.seed + row.copy for row in rows]
        settings = generation_settings(self._processor, self._ends, max(rooms))
        sampler = RowSampler(seeds, max(rooms), temperature, top_p, self._model.device)
        with without_checkpoint_settings(self._model):
            output = self._model.generate(
                **{name: value.to(self._model.device) for name, value in batch.items()},
                generation_config=settings,
                logits_processor=LogitsProcessorList([sampler]),
            )
        width = batch["input_ids"].shape[1]
        return [
            self._completion(ids[width:].tolist(), room, row.length)
            for ids, room, row in zip(output, rooms, rows, strict=True)
        ]

    def _completion(self, ids: list[int], room: int, prompt_tokens: int) -> Completion:
        ends = (place for place, token in enumerate(ids) if token in self._ends)
        end = next(ends, None)
        stopped = end is not None and end < room
        kept = ids[: end + 1] if end is not None and stopped else ids[:room]
        text = self._processor.tokenizer.decode(kept, skip_special_tokens=True)
        reason: FinishReason = "stop" if stopped else "length"
        return Completion(text=text, token_ids=kept, finish_reason=reason, prompt_tokens=prompt_tokens)


def next_call(lengths: Sequence[int], size: int, grouped: bool) -> list[int]:
    """Places of the rows of the next call, at most `size`: the longest, since they may not fit, or the first."""
    return sorted(range(len(lengths)), key=lambda row: -lengths[row] if grouped else row)[:size]


def kept(copies: Sequence[Completion | None]) -> list[Completion]:
    """Completions of a request; if any failed, only the first failed one."""
    made = [copy for copy in copies if copy is not None]
    return next(([copy] for copy in made if copy.finish_reason == "error"), made)
