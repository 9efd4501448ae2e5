"""From chat messages and decoded clips to model inputs: the one place where pixels, placeholders and time scale meet.

Clips arrive sampled and resized (`core/video`); nothing here samples or resizes again, so that every stage and both
engines feed the model the same frames and the same seconds per temporal patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tasks.core.models.protocols import Processor
from tasks.core.backbones import EncodedPrompt, of_processor
from tasks.core.io.errors import StageError
from tasks.core.video.clip import Clip

if TYPE_CHECKING:
    import torch

class InputError(StageError, ValueError):
    """A prompt and its medium do not fit together; the text says how."""


def prompt_text(processor: Processor, messages: list[dict[str, Any]]) -> str:
    """Chat messages rendered by the checkpoint's own template, ending where the answer begins."""
    return of_processor(processor).render(processor, messages)


def encode_one(
    processor: Processor, prompt: str, clip: Clip | None, data_type: str, source: str | None = None
) -> EncodedPrompt:
    """One rendered prompt with its clip, not padded; `source` names its medium within a run.

    Raises:
        InputError: prompt and clip disagree.
    """
    backbone = of_processor(processor)
    if (problem := mismatch(processor, prompt, clip, data_type)) is not None:
        raise InputError(problem)
    return backbone.encode(processor, prompt, clip, data_type, source)


def encode(
    processor: Processor,
    prompts: Sequence[str],
    clips: Sequence[Clip | None],
    data_types: Sequence[str],
    padding_side: Literal["left", "right"] = "left",
) -> dict[str, torch.Tensor]:
    """Model inputs of a batch of rendered prompts (with or without an answer behind them).

    Args:
        processor: the model's.
        prompts: B rendered texts with one unexpanded placeholder for each clip.
        clips: B clips, frames (T, H, W, 3) uint8 of a size that the encoder takes; None for text alone.
        data_types: B of "image" | "video"; an image's clip has one frame.
        padding_side: "left" for generation, "right" for training.

    Returns:
        input_ids, attention_mask and, where the model places tokens by it, mm_token_type_ids (0 text, 1 image, 2
        video), all (B, L); pixels and grids where there are media, under the names of the model's forward.

    Raises:
        InputError: a prompt and its clip disagree; the text gives the row.
    """
    rows = []
    for row, parts in enumerate(zip(prompts, clips, data_types, strict=True)):
        try:
            rows.append(encode_one(processor, *parts))
        except InputError as error:
            raise InputError(f"row {row}: {error}") from error
    return batch(processor, rows, padding_side)


def batch(
    processor: Processor, rows: Sequence[EncodedPrompt], padding_side: Literal["left", "right"] = "left"
) -> dict[str, torch.Tensor]:
    """Model inputs of encoded prompts, as `encode` gives them; their pixels must join (`Backbone.joining`)."""
    backbone = of_processor(processor)
    return {
        **padded(rows, processor.tokenizer.pad_token_id, padding_side, kinds=backbone.places_by_kind),
        **backbone.placing(rows),
        **backbone.pixels(rows),
    }


def padded(
    rows: Sequence[EncodedPrompt], pad: int, side: Literal["left", "right"], *, kinds: bool
) -> dict[str, torch.Tensor]:
    """Ids and mask (B, L) of prompts, with `kinds` also mm_token_type_ids."""
    from torch.nn.utils.rnn import pad_sequence

    def stack(values: list[torch.Tensor], fill: int) -> torch.Tensor:
        return pad_sequence(values, batch_first=True, padding_value=fill, padding_side=side)

    text = {
        "input_ids": stack([row.ids for row in rows], pad),
        "attention_mask": stack([row.ids.new_ones(len(row.ids)) for row in rows], 0),
    }
    return text | {"mm_token_type_ids": stack([row.kinds for row in rows], 0)} if kinds else text


def mismatch(processor: Processor, prompt: str, clip: Clip | None, data_type: str) -> str | None:
    """Why a rendered prompt cannot be fed with this clip, or None when it can."""
    backbone = of_processor(processor)
    placeholders = backbone.placeholders
    if data_type not in placeholders:
        return f"data_type {data_type!r} is neither 'image' nor 'video'"
    counted = {kind: prompt.count(token) for kind, token in placeholders.items()}
    wanted = {kind: int(clip is not None and kind == data_type) for kind in placeholders}
    if counted != wanted:
        medium = "no medium" if clip is None else f"one {data_type}"
        return f"the prompt has {counted['image']} image and {counted['video']} video placeholders for {medium}"
    template = "" if clip is None else backbone.written[data_type]
    for token in backbone.visual_tokens:
        if prompt.count(token) != template.count(token):
            return f"the prompt spells {token}, which stands for pixels"
    if clip is not None and data_type == "image" and len(clip.frames) != 1:
        return f"an image clip has {len(clip.frames)} frames"
    if clip is not None and data_type == "video" and not clip.sample_fps > 0:
        return f"the clip's sampling rate is {clip.sample_fps} frames per second"
    return None


def prompt_tokens(processor: Processor, prompt: str, clip: Clip | None) -> int:
    """Length of a rendered prompt in tokens once its placeholder is expanded."""
    if clip is not None:
        backbone = of_processor(processor)
        for data_type, placeholder in backbone.placeholders.items():
            if placeholder in prompt:
                prompt = prompt.replace(placeholder, backbone.expansion(processor, clip, data_type), 1)
                break
    return len(processor.tokenizer(prompt)["input_ids"])


def clip_tokens(processor: Processor, frames: int, pixels: int, data_type: str) -> int:
    """Tokens of a clip of square frames of at most so many pixels, as the backbone takes them."""
    backbone = of_processor(processor)
    shape = backbone.frame_shape(processor.image_processor.to_dict())
    side = shape.fixed_side or max(shape.side_factor, math.isqrt(pixels) // shape.side_factor * shape.side_factor)
    picture = np.broadcast_to(np.uint8(0), (frames, side, side, 3))
    clip = Clip(picture, list(range(frames)), 1.0, 1.0, float(frames))
    return len(processor.tokenizer(backbone.expansion(processor, clip, data_type))["input_ids"])
