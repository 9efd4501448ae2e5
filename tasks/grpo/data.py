"""RL prompts: their order over the run, and the views of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from tasks.core.backbones import of_processor
from tasks.core.io.seeds import derive_seed
from tasks.core.models.inputs import prompt_text
from tasks.core.models.protocols import Processor
from tasks.core.prompts import messages
from tasks.core.schemas.records import Record, texts_of
from tasks.core.text import spelled
from tasks.core.train.clips import ClipStore
from tasks.core.train.rows import EncodedPrompt, encode_prompt, reordered
from tasks.core.video import Clip, VideoError, shuffle_clip, shuffle_order
from tasks.core.video.perturb import backwards_of, perturb
from tasks.grpo.objectives.perturbations import Freeze, Mirror, OneFrame, Perturbation, Reverse, Shuffle

OnSkip = Callable[[Record, str], None]
"""Called with the record of a prompt that was left out, and the reason."""


class Prompt(NamedTuple):
    """One question, rendered."""

    record: Record
    text: str
    reversed: bool = False
    """Whether its clip is played backwards: that is the true order of this question (`core/schemas/pairs.py`)."""


class View(NamedTuple):
    """A prompt with its frames in one order."""

    key: str
    """Names the view within a step."""
    perturbed: bool
    """Whether frames are shown other than in their true order."""
    order: list[int]
    """Indices of the sampled frames as shown; [0] for an image, 0..n-1 for a view with frames of its own (`freeze`)."""
    encoded: EncodedPrompt
    clip: Clip
    """Its frames, in that order."""


class Views(NamedTuple):
    """A prompt's clip as it is, and as its objective perturbs it."""

    ordered: View
    perturbed: list[View]
    """One per perturbation; empty for an image, or a clip too short to be perturbed."""


def render(records: Sequence[Record], processor: Processor, *, template: str, system: str) -> list[Prompt]:
    """Render every record in the prompt that SFT and the benchmark use."""
    return [Prompt(r, prompt_text(processor, messages(r, template=template, system=system))) for r in records]


def backwards(prompts: Sequence[Prompt], reversed_ids: Collection[int]) -> list[Prompt]:
    """Prompts, those with one of these problem ids about their clip played backwards."""
    return [prompt._replace(reversed=prompt.record.problem_id in reversed_ids) for prompt in prompts]


def schedule(prompts: int, draws: int, seed: int) -> list[int]:
    """Indices of the prompts of a whole run: pass after pass over all of them, each pass in its own order.

    The order depends on the arguments alone, so a resumed run needs only its step.
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
    """Index of a prompt to try in place of one without signal; None when all were tried in this step.

    Args:
        prompts: how many there are.
        tried: indices used in this step so far.
        seed: of the run.
        step: 1-based.
        slot: index of the prompt in the step, over all processes.
        attempt: 1 for the first replacement.
    """
    untried = [index for index in range(prompts) if index not in tried]
    return random.Random(derive_seed(seed, "refill", step, slot, attempt)).choice(untried) if untried else None


def open_views(
    prompt: Prompt,
    step: int,
    *,
    clips: ClipStore,
    processor: Processor,
    perturbations: Sequence[Perturbation],
    seed: int,
    on_skip: OnSkip,
) -> Views | None:
    """Decode and encode a prompt's views for one step.

    Args:
        prompt: the question.
        step: 1-based; fixes the random draws, together with `seed` and the problem.
        clips: decoded frames.
        processor: of the policy.
        perturbations: views wanted beside the ordered one.
        seed: of the run.
        on_skip: called for a prompt whose medium does not decode or whose text contains a visual token.

    Returns:
        None for such a prompt.
    """
    record = prompt.record
    visual = of_processor(processor).visual_tokens
    if (place_and_token := spelled(texts_of(record), visual)) is not None:
        on_skip(record, ": ".join(place_and_token))
        return None
    try:
        clip = clips.get(record.path, record.data_type)
        if prompt.reversed:
            clip = backwards_of(clip, record.path)
    except VideoError as error:
        on_skip(record, error.reason)
        return None
    name = str(record.problem_id)
    true_order = list(range(len(clip.frames)))
    # Features are kept under a file's name: frames that are not the file's have none.
    medium = None if prompt.reversed else record.path
    encoded = encode_prompt(processor, prompt.text, clip, record.data_type, medium)
    ordered = View(name, False, true_order, encoded, clip)
    if record.data_type != "video":
        return Views(ordered, [])
    drawn_by = (seed, "shuffle", step, record.problem_id)
    seeds = [derive_seed(*drawn_by), *(derive_seed(*drawn_by, number) for number in range(1, len(perturbations)))]
    perturbed = []
    for number, (perturbation, own) in enumerate(zip(perturbations, seeds, strict=False)):
        view = _perturbed_view(f"{name} perturbed {number}", perturbation, own, ordered, prompt, processor)
        if view is None:
            return Views(ordered, [])
        perturbed.append(view)
    return Views(ordered, perturbed)


def _perturbed_view(
    key: str, perturbation: Perturbation, seed: int, ordered: View, prompt: Prompt, processor: Processor
) -> View | None:
    """A perturbed view; None where the clip is too short for it."""
    clip = ordered.clip
    order = frame_order(perturbation, len(clip.frames), seed)
    if order is not None:
        if order == ordered.order:
            return None
        shown = shuffle_clip(clip, order)
        return View(key, True, order, reordered(ordered.encoded, order, shown), shown)
    if len(clip.frames) < 2:
        return None
    shown = perturb(clip, perturbation.kind)
    # Its pixels are not the file's, so features kept under the file's name must not be used for it.
    encoded = encode_prompt(processor, prompt.text, shown, prompt.record.data_type, None)
    return View(key, True, list(range(len(shown.frames))), encoded, shown)


def frame_order(perturbation: Perturbation, frames: int, seed: int) -> list[int] | None:
    """Order of `frames` frames under a perturbation: the true one where the clip is too short for it.

    None for a perturbation that changes the frames themselves.
    """
    match perturbation:
        case Shuffle(unit=unit):
            return shuffle_order(frames, seed, unit)
        case Reverse():
            return list(range(frames))[::-1]
        case Freeze() | OneFrame() | Mirror():
            return None
    raise ValueError(f"no view for {perturbation!r}")


def black_picture(processor: Processor) -> EncodedPrompt:
    """A prompt with the smallest image and no text, in place of a lost prompt."""
    backbone = of_processor(processor)
    shape = backbone.frame_shape(processor.image_processor.to_dict())
    side = shape.fixed_side or shape.side_factor
    clip = Clip(np.zeros((1, side, side, 3), np.uint8), [0], 0.0, 0.0, 0.0)
    return encode_prompt(processor, backbone.written["image"], clip, "image")
