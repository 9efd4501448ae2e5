"""Rows of the SFT table to training examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.backbones import of_model, of_processor
from tasks.core.io.errors import StageError
from tasks.core.io.seeds import derive_seed
from tasks.core.models.inputs import clip_tokens, prompt_text
from tasks.core.prompts import messages, sft_target
from tasks.core.schemas.records import Record, texts_of
from tasks.core.text import behind_opening, spelled
from tasks.core.train.clips import ClipStore
from tasks.core.train.padding_free import Placer, join, placer
from tasks.core.train.rows import EncodedPrompt, Media, encode_prompt, grids, pad_rows, pixels, text_only
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
    rows = []
    for record in records:
        prompt = prompt_text(processor, messages(record, template=template, system=system))
        rows.append(Example(record, prompt, behind_opening(prompt, sft_target(record.process, record.solution))))
    return rows


class Collator:
    """Examples by index to a batch with loss on the answer and its end token only: right-padded, or one packed row.

    Images and videos may be mixed, in a batch of any size. Prompt and answer are tokenized apart, so that the
    answer begins at a token of its own exactly as it does in generation. A row whose medium does not decode, or whose
    text spells a visual token, is told to `on_skip` and left out; a batch that loses all its rows becomes one token
    without loss.

    With `media` a batch has its media as such in place of pixels, for a trainer that keeps features (`train.py`).
    """

    def __init__(
        self,
        rows: Sequence[Example],
        processor: Any,
        clips: ClipStore,
        on_skip: OnSkip,
        place: Placer | None = None,
        media: bool = False,
    ) -> None:
        """With `place` a batch is one packed row (`padding_free.join`)."""
        self._rows, self._processor, self._clips, self._on_skip = rows, processor, clips, on_skip
        self._place, self._media = place, media
        self._backbone = of_processor(processor)
        self._end = processor.tokenizer.eos_token_id
        self._pad = processor.tokenizer.pad_token_id

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Batch of `{"index": row}` to input_ids, attention_mask, labels, mm_token_type_ids (all (B, L)) and pixels.

        Packed it is what `padding_free.join` gives, and pixels.
        """
        encoded = [pair for item in batch if (pair := self._encode(self._rows[item["index"]])) is not None]
        if not encoded:
            encoded = [(text_only(self._end), torch.tensor([], dtype=torch.long))]
        prompts, answers = [prompt for prompt, _ in encoded], [answer for _, answer in encoded]
        if self._place is None:
            text = self._padded(prompts, answers)
        else:
            text = join([self._place(prompt) for prompt in prompts], answers, answers)
        seen = {"media": Media(prompts)} if self._media or not self._backbone.joins(prompts) else pixels(prompts)
        return {**text, **grids(prompts), **seen}

    def _padded(self, prompts: Sequence[EncodedPrompt], answers: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        pairs = list(zip(prompts, answers, strict=True))
        ids = [torch.cat([prompt.ids, answer]) for prompt, answer in pairs]
        learned = [torch.cat([torch.full_like(prompt.ids, IGNORED), answer]) for prompt, answer in pairs]
        kinds = [torch.cat([prompt.kinds, torch.zeros_like(answer)]) for prompt, answer in pairs]
        rows = {
            "input_ids": pad_rows(ids, self._pad, "right"),
            "attention_mask": pad_rows([torch.ones_like(row) for row in ids], 0, "right"),
            "labels": pad_rows(learned, IGNORED, "right"),
        }
        return rows | {"mm_token_type_ids": pad_rows(kinds, 0, "right")} if self._backbone.places_by_kind else rows

    def expect(self, rows: Sequence[int]) -> None:
        """Let the clips of rows that come next be decoded ahead."""
        records = [self._rows[row].record for row in rows]
        self._clips.expect((record.path, record.data_type) for record in records)

    def _encode(self, row: Example) -> Any:
        """(prompt, answer ids (A,)), or None for a row that is left out."""
        if (found := spelled(texts_of(row.record), self._backbone.visual_tokens)) is not None:
            self._on_skip(row.record, ": ".join(found))
            return None
        try:
            clip = self._clips.get(row.record.path, row.record.data_type)
        except VideoError as error:
            self._on_skip(row.record, error.reason)
            return None
        answer = self._processor.tokenizer(row.target)["input_ids"]
        prompt = encode_prompt(self._processor, row.prompt, clip, row.record.data_type, row.record.path)
        return prompt, torch.tensor([*answer, self._end])


class EpochOrder:
    """A sampler's rows in an order that follows from seed and epoch alone, so that a resumed run draws it again.

    transformers' sampler by length draws from the process's random stream, which a resumed run has at another place.
    One that keeps epochs apart itself is told the epoch here, for accelerate cannot reach it behind this order.

    Args:
        sampler: of rows, by length or at random.
        seed: of the run.
        epoch: gives the present one, from 0.
    """

    def __init__(self, sampler: Any, seed: int, epoch: Callable[[], int]) -> None:
        self._sampler, self._seed, self._epoch = sampler, seed, epoch

    def __iter__(self) -> Iterator[int]:
        epoch = self._epoch()
        if hasattr(self._sampler, "set_epoch"):
            self._sampler.set_epoch(epoch)
        else:
            self._sampler.generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
        return iter(self._sampler)

    def __len__(self) -> int:
        return len(self._sampler)


class AnnouncedOrder:
    """A sampler's rows in its order; `announce` is told those of a process's present and next batch.

    Args:
        sampler: of rows, over all processes.
        announce: told as the first row of the present batches is drawn.
        batch: rows of a process's batch.
        process: number of the process, which gets every `processes`-th batch.
        processes: how many.
    """

    def __init__(
        self, sampler: Any, announce: Callable[[Sequence[int]], None], batch: int, process: int = 0, processes: int = 1
    ) -> None:
        self._sampler, self._announce = sampler, announce
        self._batch, self._process, self._processes = batch, process, processes

    def __iter__(self) -> Iterator[int]:
        order = list(self._sampler)
        present = self._batch * self._processes
        for place, row in enumerate(order):
            if place % present == 0:
                near = enumerate(order[place : place + 2 * present])
                self._announce([one for at, one in near if at // self._batch % self._processes == self._process])
            yield row

    def __len__(self) -> int:
        return len(self._sampler)


def placing(model: Any, padding_free: bool) -> Placer | None:
    """What a `Collator` packs rows with, the model prepared for them; None leaves it to pad.

    Raises:
        StageError: the model cannot read packed rows.
    """
    if not padding_free:
        return None
    if (reason := of_model(model).unpackable(model)) is not None:
        print(f"sft: rows are padded: {reason}")
        return None
    try:
        return placer(model)
    except ValueError as error:
        raise StageError(f"sft.padding_free: {error}; set it to false") from error


def lengths(rows: Sequence[Example], processor: Any, visual: Mapping[str, int] | None = None) -> list[int]:
    """Tokens per row, what batches of like length are grouped by; a clip counts by its data type, not decoded.

    Args:
        rows: training rows.
        processor: the model's.
        visual: data type -> tokens of a clip (`most_visual_tokens`); None counts text alone.
    """
    texts = processor.tokenizer([row.prompt + row.target for row in rows])["input_ids"] if rows else []
    known = visual or {}
    return [len(ids) + known.get(row.record.data_type, 0) for ids, row in zip(texts, rows, strict=True)]


def most_visual_tokens(processor: Any, frames: int, max_pixels: int) -> dict[str, int]:
    """Data type -> tokens of a square clip as large as the bounds of the `video` section allow."""
    return {
        data_type: clip_tokens(processor, count, max_pixels, data_type)
        for data_type, count in (("image", 1), ("video", frames))
    }
