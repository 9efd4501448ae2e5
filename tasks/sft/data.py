"""Rows of the SFT table to training examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.models.inputs import prompt_text
from tasks.core.models.visual_tokens import visual_token_ids
from tasks.core.prompts import messages, sft_target
from tasks.core.schemas.records import Record
from tasks.core.train.clips import ClipStore
from tasks.core.train.rows import Media, encode_prompt, grids, pad_rows, pixels, text_only
from tasks.core.video import VideoError

IGNORED = -100
"""Label of a token without loss."""
OnSkip = Callable[[Record, str], None]
"""Told of a row that was left out, and why."""


class Example(NamedTuple):
    """One row: a rendered prompt ending where the answer begins, and the answer's text."""

    record: Record
    prompt: str
    target: str


def examples(records: Sequence[Record], processor: Any, *, template: str, system: str) -> list[Example]:
    """Render every record in the prompt that RL and the benchmark use."""
    return [
        Example(
            record,
            prompt_text(processor, messages(record, template=template, system=system)),
            sft_target(record.process, record.solution),
        )
        for record in records
    ]


class Collator:
    """Examples by index to a right-padded batch with loss on the answer and its end token only.

    Images and videos may be mixed, in a batch of any size. Prompt and answer are tokenized apart, so that the
    answer begins at a token of its own exactly as it does in generation. A row whose medium does not decode is
    told to `on_skip` and left out; a batch that loses all its rows becomes one token without loss.

    With `media` a batch has its media as such in place of pixels, for a trainer that keeps features (`train.py`).
    """

    def __init__(
        self, rows: Sequence[Example], processor: Any, clips: ClipStore, on_skip: OnSkip, media: bool = False
    ) -> None:
        self._rows, self._processor, self._clips, self._on_skip = rows, processor, clips, on_skip
        self._media = media
        self._end = processor.tokenizer.eos_token_id
        self._pad = processor.tokenizer.pad_token_id
        self._unlearned = torch.tensor(visual_token_ids(processor.tokenizer))

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Batch of `{"index": row}` to input_ids, attention_mask, labels, mm_token_type_ids (all (B, L)) and pixels."""
        encoded = [pair for item in batch if (pair := self._encode(self._rows[item["index"]])) is not None]
        if not encoded:
            encoded = [(text_only(self._end), torch.tensor([], dtype=torch.long))]
        prompts = [prompt for prompt, _ in encoded]
        ids = [torch.cat([prompt.ids, answer]) for prompt, answer in encoded]
        labels = [
            torch.cat([torch.full_like(prompt.ids, IGNORED), self._learned(answer)]) for prompt, answer in encoded
        ]
        kinds = [torch.cat([prompt.kinds, torch.zeros_like(answer)]) for prompt, answer in encoded]
        return {
            "input_ids": pad_rows(ids, self._pad, "right"),
            "attention_mask": pad_rows([torch.ones_like(row) for row in ids], 0, "right"),
            "labels": pad_rows(labels, IGNORED, "right"),
            "mm_token_type_ids": pad_rows(kinds, 0, "right"),
            **grids(prompts),
            **({"media": Media(prompts)} if self._media else pixels(prompts)),
        }

    def _encode(self, row: Example) -> Any:
        """(prompt, answer ids (A,)), or None when the medium does not decode."""
        try:
            clip = self._clips.get(row.record.path, row.record.data_type)
        except VideoError as error:
            self._on_skip(row.record, error.reason)
            return None
        answer = self._processor.tokenizer(row.target)["input_ids"]
        prompt = encode_prompt(self._processor, row.prompt, clip, row.record.data_type, row.record.path)
        return prompt, torch.tensor([*answer, self._end])

    def _learned(self, answer: torch.Tensor) -> torch.Tensor:
        return answer.masked_fill(torch.isin(answer, self._unlearned), IGNORED)


def lengths(rows: Sequence[Example], processor: Any) -> list[int]:
    """Text tokens per row: what batches of like length are grouped by."""
    texts = processor.tokenizer([row.prompt + row.target for row in rows])["input_ids"] if rows else []
    return [len(ids) for ids in texts]
