"""Rows of the SFT table to training examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.backbones import of_model, of_processor
from tasks.core.io.errors import StageError
from tasks.core.io.seeds import derive_seed
from tasks.core.models.inputs import clip_tokens, prompt_text
from tasks.core.models.protocols import Model, Processor
from tasks.core.prompts import messages, sft_target
from tasks.core.schemas.records import Record, is_reversed, texts_of
from tasks.core.text import behind_opening, spelled
from tasks.core.train.clips import ClipStore
from tasks.core.train.padding_free import Positioner, join, positioner
from tasks.core.train.rows import EncodedPrompt, Media, encode_prompt, grids, pad_rows, pixels, text_only
from tasks.core.video import VideoError
from tasks.core.video.perturb import backwards_of

IGNORED = -100
"""Label of a token without loss."""
OnSkip = Callable[[Record, str], None]
"""Called with a row that was left out, and the reason."""


class Example(NamedTuple):
    """One row: a rendered prompt that ends where the completion begins, and the completion's text."""

    record: Record
    prompt: str
    target: str


def examples(records: Sequence[Record], processor: Processor, *, template: str, system: str) -> list[Example]:
    """Render every record in the prompt that RL and the benchmark use."""
    rows = []
    for record in records:
        prompt = prompt_text(processor, messages(record, template=template, system=system))
        rows.append(Example(record, prompt, behind_opening(prompt, sft_target(record.process, record.solution))))
    return rows


class Collator:
    """Makes a batch of examples, right-padded or as one packed row; only completions and their end tokens have a loss.

    Images and videos may be mixed, in a batch of any size. Prompt and completion are tokenized apart, so that the
    completion begins with a token of its own, as it does in generation. A row whose medium does not decode, or whose
    text spells a visual token, is reported to `on_skip` and left out; a batch that loses all its rows becomes one token
    without loss.

    With `media` a batch holds its media (`Media`) in place of pixels, for a trainer that keeps features (`train.py`).
    """

    def __init__(
        self,
        rows: Sequence[Example],
        processor: Processor,
        clips: ClipStore,
        on_skip: OnSkip,
        position: Positioner | None = None,
        media: bool = False,
    ) -> None:
        """Set up; with `position` a batch is one packed row (`padding_free.join`)."""
        self._rows, self._processor, self._clips, self._on_skip = rows, processor, clips, on_skip
        self._position, self._media = position, media
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
        prompts, completions = [prompt for prompt, _ in encoded], [completion for _, completion in encoded]
        if self._position is None:
            text = self._padded(prompts, completions)
        else:
            text = join([self._position(prompt) for prompt in prompts], completions, completions)
        media = {"media": Media(prompts)} if self._media or not self._backbone.joins(prompts) else pixels(prompts)
        return {**text, **grids(prompts), **media}

    def _padded(self, prompts: Sequence[EncodedPrompt], completions: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        pairs = list(zip(prompts, completions, strict=True))
        ids = [torch.cat([prompt.ids, completion]) for prompt, completion in pairs]
        labels = [torch.cat([torch.full_like(prompt.ids, IGNORED), completion]) for prompt, completion in pairs]
        kinds = [torch.cat([prompt.kinds, torch.zeros_like(completion)]) for prompt, completion in pairs]
        rows = {
            "input_ids": pad_rows(ids, self._pad, "right"),
            "attention_mask": pad_rows([torch.ones_like(row) for row in ids], 0, "right"),
            "labels": pad_rows(labels, IGNORED, "right"),
        }
        return rows | {"mm_token_type_ids": pad_rows(kinds, 0, "right")} if self._backbone.places_by_kind else rows

    def expect(self, rows: Sequence[int]) -> None:
        """Let the clips of rows that come next be decoded ahead."""
        records = [self._rows[row].record for row in rows]
        self._clips.expect((record.path, record.data_type) for record in records)

    def _encode(self, row: Example) -> Any:
        """(prompt, completion ids (C,)), or None for a row that is left out."""
        if (place_and_token := spelled(texts_of(row.record), self._backbone.visual_tokens)) is not None:
            self._on_skip(row.record, ": ".join(place_and_token))
            return None
        backwards = is_reversed(row.record)
        try:
            clip = self._clips.get(row.record.path, row.record.data_type)
            if backwards:
                clip = backwards_of(clip, row.record.path)
        except VideoError as error:
            self._on_skip(row.record, error.reason)
            return None
        completion = self._processor.tokenizer(row.target)["input_ids"]
        # Features are kept under a file's name: frames that are not the file's have none.
        medium = None if backwards else row.record.path
        prompt = encode_prompt(self._processor, row.prompt, clip, row.record.data_type, medium)
        return prompt, torch.tensor([*completion, self._end])


class EpochOrder:
    """A sampler's rows in an order that depends on seed and epoch alone, so that a resumed run draws the same one.

    transformers' sampler by length draws from the random stream of the process, which a resumed run has at another
    state: it gets a generator per epoch. A sampler with `set_epoch` gets its epoch here, because accelerate cannot
    reach a sampler inside this class.

    Args:
        sampler: of rows, by length or at random.
        seed: of the run.
        epoch: returns the present epoch, from 0.
        note: called with the epoch and its whole order, of all processes, as it begins.
    """

    def __init__(
        self,
        sampler: Any,
        seed: int,
        epoch: Callable[[], int],
        note: Callable[[int, list[int]], None] = lambda epoch, order: None,
    ) -> None:
        self._sampler, self._seed, self._epoch, self._note = sampler, seed, epoch, note

    def __iter__(self) -> Iterator[int]:
        epoch = self._epoch()
        if hasattr(self._sampler, "set_epoch"):
            self._sampler.set_epoch(epoch)
        else:
            self._sampler.generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
        order = list(self._sampler)
        self._note(epoch, order)
        return iter(order)

    def __len__(self) -> int:
        return len(self._sampler)


class AnnouncedOrder:
    """A sampler's rows in its order; calls `announce` with the rows of a process's present and next batch.

    Args:
        sampler: of rows, over all processes.
        announce: called when the first row of the present batches is drawn.
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
                own = (soon for n, soon in near if n // self._batch % self._processes == self._process)
                self._announce(list(own))
            yield row

    def __len__(self) -> int:
        return len(self._sampler)


def row_packer(model: Model, padding_free: bool) -> Positioner | None:
    """Prepare the model for packed rows; returns what a `Collator` packs them with, or None where it shall pad.

    Raises:
        StageError: the model cannot read packed rows.
    """
    if not padding_free:
        return None
    if (reason := of_model(model).unpackable(model)) is not None:
        print(f"sft: rows are padded: {reason}")
        return None
    try:
        return positioner(model)
    except ValueError as error:
        raise StageError(f"sft.padding_free: {error}; set it to false") from error


def lengths(rows: Sequence[Example], processor: Processor, visual: Mapping[str, int] | None = None) -> list[int]:
    """Tokens per row, by which rows of similar length are grouped; a clip counts by its data type, without decoding.

    Args:
        rows: training rows.
        processor: the model's.
        visual: data type -> tokens of a clip (`most_visual_tokens`); None counts text alone.
    """
    texts = processor.tokenizer([row.prompt + row.target for row in rows])["input_ids"] if rows else []
    known = visual or {}
    return [len(ids) + known.get(row.record.data_type, 0) for ids, row in zip(texts, rows, strict=True)]


def most_visual_tokens(processor: Processor, frames: int, max_pixels: int) -> dict[str, int]:
    """Data type -> tokens of a square clip as large as the bounds of the `video` section allow."""
    return {
        data_type: clip_tokens(processor, count, max_pixels, data_type)
        for data_type, count in (("image", 1), ("video", frames))
    }
