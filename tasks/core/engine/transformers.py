"""Generation by transformers: any device, nothing extra to install; the reference for the vLLM engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers import LogitsProcessorList

from tasks.core.engine.admit import answer_admitted
from tasks.core.engine.sampler import RowSampler, end_tokens, generation_settings, without_checkpoint_settings
from tasks.core.engine.types import Completion, Request
from tasks.core.models import inputs, load


class TransformersEngine:
    """`Engine` over `model.generate`, `rows_per_call` answers at a time, padded on the left."""

    def __init__(
        self,
        model_path: Path | str,
        *,
        dtype: str,
        max_model_len: int,
        rows_per_call: int,
        group_by_length: bool = True,
    ) -> None:
        """Load the checkpoint.

        Args:
            model_path: checkpoint folder.
            dtype: of weights and arithmetic.
            max_model_len: prompt plus answer, tokens.
            rows_per_call: most answers of a `generate` call.
            group_by_length: whether prompts of like length share a call, or those that follow each other.

        Raises:
            ModelError: not a usable checkpoint folder.
        """
        self._processor = load.load_processor(model_path)
        self._model = load.load_model(model_path, dtype)
        self._max_model_len = max_model_len
        self._rows_per_call, self._group_by_length = rows_per_call, group_by_length
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

    def generate(
        self, requests: Sequence[Request], *, temperature: float, top_p: float, max_tokens: int, n: int = 1
    ) -> list[list[Completion]]:
        """See `Engine.generate`."""

        def answer(batch: list[Request]) -> list[list[Completion]]:
            rows = [(request, copy) for request in batch for copy in range(n)]
            tokens = [inputs.prompt_tokens(self._processor, request.prompt, request.clip) for request in batch]
            lengths = [length for length in tokens for _ in range(n)]
            found: dict[int, Completion] = {}
            for places in calls(lengths, self._rows_per_call, self._group_by_length):
                answers = self._answer([rows[place] for place in places], temperature, top_p, max_tokens)
                found.update(zip(places, answers, strict=True))
            return [[found[i * n + copy] for copy in range(n)] for i in range(len(batch))]

        return answer_admitted(self._processor, requests, self._max_model_len, answer)

    @torch.inference_mode()
    def _answer(
        self, rows: list[tuple[Request, int]], temperature: float, top_p: float, max_tokens: int
    ) -> list[Completion]:
        requests = [request for request, _ in rows]
        batch = inputs.encode(
            self._processor,
            [request.prompt for request in requests],
            [request.clip for request in requests],
            [request.data_type for request in requests],
        )
        rooms = [min(max_tokens, self._max_model_len - int(length)) for length in batch["attention_mask"].sum(1)]
        seeds = [request.seed + copy for request, copy in rows]
        settings = generation_settings(self._processor, self._ends, max(rooms))
        sampler = RowSampler(seeds, max(rooms), temperature, top_p, self._model.device)
        with without_checkpoint_settings(self._model):
            output = self._model.generate(
                **{name: value.to(self._model.device) for name, value in batch.items()},
                generation_config=settings,
                logits_processor=LogitsProcessorList([sampler]),
            )
        width = batch["input_ids"].shape[1]
        return [self._completion(ids[width:].tolist(), room) for ids, room in zip(output, rooms, strict=True)]

    def _completion(self, ids: list[int], room: int) -> Completion:
        ends = (place for place, token in enumerate(ids) if token in self._ends)
        end = next(ends, None)
        stopped = end is not None and end < room
        kept = ids[: end + 1] if end is not None and stopped else ids[:room]
        text = self._processor.tokenizer.decode(kept, skip_special_tokens=True)
        return Completion(text=text, token_ids=kept, finish_reason="stop" if stopped else "length")


def calls(lengths: Sequence[int], size: int, grouped: bool) -> list[list[int]]:
    """Places of the rows of each call, at most `size`; grouped, the longest come first, since they may not fit."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row] if grouped else row)
    return [order[start : start + size] for start in range(0, len(order), size)]
