"""Prompts and their completions in one row (packed), so that a prompt is read once for all its completions.

    prompt 1 | prompt 2 | completion 1.1 | completion 1.2 | completion 2.1 | completion 2.2

A completion's last token predicts nothing that is scored and is left out of the row. Its first token is predicted by
the prompt's last token, which all completions of the prompt share. Integer arithmetic only; which token attends to
which is in `split_attention.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch


class Layout(NamedTuple):
    """Lengths, in tokens, of the parts of a packed row."""

    prompts: list[int]
    """P prompts, in order."""
    completions: list[list[int]]
    """Tokens of each prompt's completions in the row: one fewer than a completion has, and never fewer than 0."""

    @property
    def prompt_tokens(self) -> int:
        """Where the prompts end and the completions begin."""
        return sum(self.prompts)

    @property
    def completion_tokens(self) -> int:
        """Tokens of all completions."""
        return sum(map(sum, self.completions))


class PositionedPrompt(NamedTuple):
    """One prompt with the positions of its tokens."""

    ids: torch.Tensor
    """(L,) token ids."""
    positions: torch.Tensor
    """(R, L): R = 3 under M-RoPE, time, height and width; otherwise 1."""
    following: int
    """Position of the token after the prompt, the same in all R."""


class Packed(NamedTuple):
    """A packed row and where its completions' log-probabilities are read."""

    ids: torch.Tensor
    """(1, N)."""
    positions: torch.Tensor
    """(R, N)."""
    layout: Layout
    predictors: torch.Tensor
    """(S,) index in the row of the token that predicts each scored token."""
    targets: torch.Tensor
    """(1, S) the scored tokens, row after row of `mask`."""
    mask: torch.Tensor
    """(B, C) bool, where the scored tokens belong."""


def one_row(positions: torch.Tensor) -> torch.Tensor:
    """Positions (R, N) of a packed row as a forward takes them: (3, 1, N) under M-RoPE, otherwise (1, N)."""
    return positions if len(positions) == 1 else positions.unsqueeze(1)


def pack(
    prompts: Sequence[PositionedPrompt], rows: Sequence[int], completions: torch.Tensor, mask: torch.Tensor
) -> Packed:
    """Put prompts and completions into one row.

    Args:
        prompts: P prompts.
        rows: how many consecutive rows of `completions` belong to each prompt.
        completions: (B, C) token ids, padded on the right.
        mask: (B, C) 1 for tokens of the completion.

    Raises:
        ValueError: `rows` does not add up to B.
    """
    if sum(rows) != len(completions) or len(rows) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts with {list(rows)} completions for {len(completions)} rows")
    device = completions.device
    lengths = mask.sum(dim=1).tolist()
    owners = [owner for owner, count in enumerate(rows) for _ in range(count)]
    packed_lengths = [max(length - 1, 0) for length in lengths]
    layout = Layout(
        [len(prompt.ids) for prompt in prompts],
        [[packed_lengths[row] for row, owner in enumerate(owners) if owner == own] for own in range(len(prompts))],
    )
    ends = list(itertools.accumulate(layout.prompts))
    starts = itertools.accumulate(packed_lengths[:-1], initial=layout.prompt_tokens)
    predictors = [
        place
        for owner, start, length in zip(owners, starts, lengths, strict=True)
        if length
        for place in (ends[owner] - 1, *range(start, start + length - 1))
    ]
    places = [
        prompts[owner].following + torch.arange(length) for owner, length in zip(owners, packed_lengths, strict=True)
    ]
    axes = len(prompts[0].positions)
    positions = torch.cat(
        [*(prompt.positions.to(device) for prompt in prompts), *(p.to(device).expand(axes, -1) for p in places)], 1
    )
    ids = torch.cat(
        [
            *(prompt.ids.to(device) for prompt in prompts),
            *(a[:n] for a, n in zip(completions, packed_lengths, strict=True)),
        ]
    )
    kept = mask.bool()
    return Packed(
        ids.unsqueeze(0),
        positions,
        layout,
        torch.tensor(predictors, dtype=torch.long, device=device),
        completions[kept].unsqueeze(0),
        kept,
    )
