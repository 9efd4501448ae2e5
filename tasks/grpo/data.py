"""RL prompts: their order over the run, and how each is shown."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tasks.core.backbones import of_processor
from tasks.core.io.seeds import derive_seed
from tasks.core.models.inputs import prompt_text
from tasks.core.prompts import messages
from tasks.core.schemas.records import Record, texts_of
from tasks.core.text import spelled
from tasks.core.train.clips import ClipStore
from tasks.core.train.rows import EncodedPrompt, encode_prompt, reordered
from tasks.core.video import Clip, VideoError, shuffle_clip, shuffle_order

OnSkip = Callable[[Record, str], None]
"""Told of a prompt that was left out, and why."""


class Prompt(NamedTuple):
    """One question, rendered."""

    record: Record
    text: str


class View(NamedTuple):
    """A prompt as shown: its frames in one order."""

    key: str
    """Names the view within a step."""
    shuffled: bool
    order: list[int]
    """Sampled frames in the order shown; [0] for an image."""
    encoded: EncodedPrompt
    clip: Clip
    """Its frames, in that order."""


class Views(NamedTuple):
    """The two sides of a prompt's contrast."""

    ordered: View
    shuffled: View | None
    """None: an image, a clip too short to shuffle, or no contrast asked for."""


class Shuffling(NamedTuple):
    """How frames are shuffled; a shuffle is fixed by (seed, step, problem) and is never the true order."""

    seed: int
    unit: str
    """frame or temporal_patch."""


def render(records: Sequence[Record], processor: Any, *, template: str, system: str) -> list[Prompt]:
    """Render every record in the prompt that SFT and the benchmark use."""
    return [Prompt(r, prompt_text(processor, messages(r, template=template, system=system))) for r in records]


def schedule(prompts: int, draws: int, seed: int) -> list[int]:
    """Indices of the prompts of a whole run: pass after pass over all of them, each pass in its own order.

    The order is a function of the arguments alone, so that a resumed run needs only its step to go on.
    """
    order: list[int] = []
    while len(order) < draws:
        one_pass = list(range(prompts))
        random.Random(derive_seed(seed, "order", len(order) // prompts)).shuffle(one_pass)
        order += one_pass
    return order[:draws]


def drawn(order: Sequence[int], step: int, first_row: int, rows: int, group: int, processes: int) -> list[int]:
    """Prompts of a process's rows in a step, each once, as TRL's sampler deals them; none after the last step.

    Args:
        order: `schedule` of the whole run.
        step: 1-based.
        first_row: number of the process's first row over all processes.
        rows: of each process.
        group: rows of a prompt.
        processes: how many.
    """
    before = (step - 1) * rows * processes // group
    slots = range(before + first_row // group, before + (first_row + rows - 1) // group + 1)
    return [order[slot] for slot in slots if slot < len(order)]


def substitute(prompts: int, tried: set[int], seed: int, step: int, slot: int, attempt: int) -> int | None:
    """Index of a prompt to try in place of one that taught nothing; None when all were tried in this step.

    Args:
        prompts: how many there are.
        tried: indices used in this step so far.
        seed: of the run.
        step: 1-based.
        slot: place of the prompt in the step, over all processes.
        attempt: 1 for the first replacement.
    """
    left = [index for index in range(prompts) if index not in tried]
    return random.Random(derive_seed(seed, "refill", step, slot, attempt)).choice(left) if left else None


def open_views(
    prompt: Prompt, step: int, *, clips: ClipStore, processor: Any, shuffling: Shuffling | None, on_skip: OnSkip
) -> Views | None:
    """Decode and encode a prompt's views for one step.

    None, told to `on_skip`, when its medium does not decode or its text spells a visual token.
    """
    record = prompt.record
    if (found := spelled(texts_of(record), of_processor(processor).visual_tokens)) is not None:
        on_skip(record, ": ".join(found))
        return None
    try:
        clip = clips.get(record.path, record.data_type)
    except VideoError as error:
        on_skip(record, error.reason)
        return None
    name = str(record.problem_id)
    true_order = list(range(len(clip.frames)))
    encoded = encode_prompt(processor, prompt.text, clip, record.data_type, record.path)
    ordered = View(name, False, true_order, encoded, clip)
    if shuffling is None or record.data_type != "video":
        return Views(ordered, None)
    seed = derive_seed(shuffling.seed, "shuffle", step, record.problem_id)
    order = shuffle_order(len(clip.frames), seed, shuffling.unit)
    if order == true_order:
        return Views(ordered, None)
    mixed = shuffle_clip(clip, order)
    shuffled = reordered(encoded, order, mixed)
    return Views(ordered, View(f"{name} shuffled", True, order, shuffled, mixed))


def black_picture(processor: Any) -> EncodedPrompt:
    """A prompt of nothing but the smallest image, to stand for one that is lost."""
    backbone = of_processor(processor)
    shape = backbone.frame_shape(processor.image_processor.to_dict())
    side = shape.fixed_side or shape.side_factor
    clip = Clip(np.zeros((1, side, side, 3), np.uint8), [0], 0.0, 0.0, 0.0)
    return encode_prompt(processor, backbone.written["image"], clip, "image")
