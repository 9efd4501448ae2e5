"""Encoded prompts and the batches made of them.

A prompt is encoded once and alone; a batch is padded ids beside the pixels of its rows, in row order. Padding
sides differ: rollouts and RL rows are padded on the left of the prompt, SFT rows on the right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import torch

from tasks.core.models.inputs import encode
from tasks.core.video import Clip

IMAGE, VIDEO = 1, 2
CHANNELS = 3
Patches = tuple[tuple[int, int], ...]
"""The two frames of every temporal patch, as their source numbers them."""


class EncodedPrompt(NamedTuple):
    """One rendered prompt with its medium, not padded."""

    ids: torch.Tensor
    """(L,) token ids, the placeholder expanded."""
    kinds: torch.Tensor
    """(L,) 0 text, 1 image, 2 video: what M-RoPE places tokens by."""
    kind: int
    """IMAGE, VIDEO or 0 for text alone."""
    pixels: torch.Tensor | None
    """(patches, channels * 2 * 14 * 14) float32."""
    grid: torch.Tensor | None
    """(1, 3) patches in time, height and width."""
    seconds_per_grid: torch.Tensor | None
    """(1,) seconds between temporal patches; None for an image."""
    source: str | None = None
    """Names the medium: where source and patches are equal, so are pixels. None: unknown, or no medium."""
    patches: Patches = ()
    """In the order shown; the last frame of an odd number is its own second."""


def encode_prompt(
    processor: Any, prompt: str, clip: Clip | None, data_type: str, source: str | None = None
) -> EncodedPrompt:
    """Encode one rendered prompt; `source` names its medium within a run.

    Raises:
        InputError: prompt and clip disagree.
    """
    inputs = encode(processor, [prompt], [clip], [data_type])
    names = {"image": ("pixel_values", "image_grid_thw"), "video": ("pixel_values_videos", "video_grid_thw")}[data_type]
    seconds = inputs.get("second_per_grid_ts")
    return EncodedPrompt(
        ids=inputs["input_ids"][0],
        kinds=inputs["mm_token_type_ids"][0],
        kind=0 if clip is None else {"image": IMAGE, "video": VIDEO}[data_type],
        pixels=inputs.get(names[0]),
        grid=inputs.get(names[1]),
        seconds_per_grid=None if seconds is None else torch.as_tensor(seconds, dtype=torch.float32),
        source=None if clip is None else source,
        patches=() if clip is None else _patches(clip.indices),
    )


def reordered(prompt: EncodedPrompt, order: Sequence[int], shown: Clip) -> EncodedPrompt:
    """A prompt about a video with its frames in another order, as `encode_prompt` would make it; no pixel is made anew.

    Args:
        prompt: encoded with the frames in their own order.
        order: which frame is shown at each place.
        shown: the clip in that order.
    """
    assert prompt.pixels is not None and prompt.grid is not None
    times = int(prompt.grid[0, 0])
    # A patch holds, channel by channel, its two frames.
    paired = prompt.pixels.view(times, -1, CHANNELS, 2, prompt.pixels.shape[1] // (2 * CHANNELS))
    places = torch.tensor(list(zip_longest(order[::2], order[1::2], fillvalue=order[-1])))
    frames = paired.permute(0, 3, 1, 2, 4).flatten(0, 1)[places]
    return prompt._replace(
        pixels=frames.permute(0, 2, 3, 1, 4).reshape(prompt.pixels.shape), patches=_patches(shown.indices)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Media:
    """Media of a batch that are still to be encoded; a data loader passes it on whole, unlike a tuple."""

    prompts: list[EncodedPrompt]


def _patches(indices: Sequence[int]) -> Patches:
    return tuple(zip_longest(indices[::2], indices[1::2], fillvalue=indices[-1]))


def text_only(token: int) -> EncodedPrompt:
    """A row of one token and no medium: keeps its place in a batch when its clip is lost."""
    return EncodedPrompt(torch.tensor([token]), torch.tensor([0]), 0, None, None, None)


def pad_rows(rows: Sequence[torch.Tensor], value: int, side: Literal["left", "right"]) -> torch.Tensor:
    """Stack rows (L_i,) to (B, max L), filled with `value` on `side`."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)


def grids(prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
    """Grids and time scale of the media of a batch, in row order; what positions are made of."""
    found: dict[str, torch.Tensor] = {}
    for kind, name in ((IMAGE, "image_grid_thw"), (VIDEO, "video_grid_thw")):
        if parts := [prompt.grid for prompt in prompts if prompt.kind == kind and prompt.grid is not None]:
            found[name] = torch.cat(parts)
    if seconds := [prompt.seconds_per_grid for prompt in prompts if prompt.seconds_per_grid is not None]:
        found["second_per_grid_ts"] = torch.cat(seconds)
    return found


def pixels(prompts: Sequence[EncodedPrompt]) -> dict[str, torch.Tensor]:
    """Pixel tensors of a batch, in row order."""
    found: dict[str, torch.Tensor] = {}
    for kind, name in ((IMAGE, "pixel_values"), (VIDEO, "pixel_values_videos")):
        if parts := [prompt.pixels for prompt in prompts if prompt.kind == kind and prompt.pixels is not None]:
            found[name] = torch.cat(parts)
    return found
