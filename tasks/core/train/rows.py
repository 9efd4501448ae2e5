"""Encoded prompts and the batches made of them.

A prompt is encoded once and alone; a batch is padded ids beside the pixels of its rows, in row order. Padding
sides differ: rollouts and RL rows are padded on the left of the prompt, SFT rows on the right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch

from tasks.core.backbones import IMAGE, VIDEO, Backbone, EncodedPrompt, Patches, backbone_of
from tasks.core.models.inputs import encode_one
from tasks.core.models.protocols import Processor
from tasks.core.video import Clip

__all__ = [
    "IMAGE",
    "VIDEO",
    "EncodedPrompt",
    "Media",
    "Patches",
    "encode_prompt",
    "grids",
    "pad_rows",
    "pixels",
    "reordered",
    "text_only",
]


def encode_prompt(
    processor: Processor, prompt: str, clip: Clip | None, data_type: str, source: str | None = None
) -> EncodedPrompt:
    """Encode one rendered prompt; `source` names its medium within a run.

    Raises:
        InputError: prompt and clip disagree.
    """
    return encode_one(processor, prompt, clip, data_type, source)


def reordered(prompt: EncodedPrompt, order: Sequence[int], shown: Clip) -> EncodedPrompt:
    """A prompt with its frames in another order, equal to what `encode_prompt` gives; pixels are not computed again.

    Args:
        prompt: encoded with the frames in their own order.
        order: which frame is shown at each position.
        shown: the clip in that order.
    """
    return backbone_of(prompt.family).reordered(prompt, order, shown)


@dataclasses.dataclass(frozen=True, slots=True)
class Media:
    """Media of a batch that are still to be encoded. A data loader passes it on unchanged, unlike a tuple."""

    prompts: list[EncodedPrompt]


def text_only(token: int) -> EncodedPrompt:
    """A row of one token and no medium, in place of one whose clip is lost."""
    return EncodedPrompt(torch.tensor([token]), torch.tensor([0]), 0, None, None, None)


def pad_rows(rows: Sequence[torch.Tensor], value: int, side: Literal["left", "right"]) -> torch.Tensor:
    """Stack rows (L_i,) to (B, max L), filled with `value` on `side`."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)


def grids(prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
    """Grids and time scale of the media of a batch, in row order; positions are computed from them."""
    backbone = _backbone(prompts)
    return {} if backbone is None else backbone.placing(prompts)


def pixels(prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
    """Pixel tensors of a batch, in row order."""
    backbone = _backbone(prompts)
    return {} if backbone is None else backbone.pixels(prompts)


def _backbone(prompts: Sequence[EncodedPrompt]) -> Backbone | None:
    """The family that encoded a batch's media; None for a batch without any."""
    family = next((prompt.family for prompt in prompts if prompt.kind), None)
    return None if family is None else backbone_of(family)
