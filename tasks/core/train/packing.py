"""Prompts and their answers laid end to end in one row, so that a prompt is read once for all its answers.

    prompt 1 | prompt 2 | answer 1.1 | answer 1.2 | answer 2.1 | answer 2.2

An answer's last token predicts nothing that is scored and is not laid down. Its first token is predicted by the
prompt's last token, which all answers to the prompt share. Integer arithmetic only; what attends to what is in
`split_attention.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch


class Layout(NamedTuple):
    """Lengths, in tokens, of what lies in a packed row."""

    prompts: list[int]
    """P prompts, in order."""
    answers: list[list[int]]
    """Tokens laid down of each prompt's answers; answers of one token or none leave none."""

    @property
    def prompt_tokens(self) -> int:
        """Where the prompts end and the answers begin."""
        return sum(self.prompts)

    @property
    def answer_tokens(self) -> int:
        """Tokens of all answers."""
        return sum(map(sum, self.answers))


class Placed(NamedTuple):
    """One prompt with its place in time and space."""

    ids: torch.Tensor
    """(L,) token ids."""
    positions: torch.Tensor
    """(R, L): R = 3 under M-RoPE, time, height and width; otherwise 1."""
    following: int
    """Position of the token after the prompt, the same in all R."""


class Packed(NamedTuple):
    """A packed row and where its answers' log-probabilities are read."""

    ids: torch.Tensor
    """(1, N)."""
    positions: torch.Tensor
    """(R, N)."""
    layout: Layout
    predictors: torch.Tensor
    """(S,) place in the row of the token that predicts each scored token."""
    targets: torch.Tensor
    """(1, S) the scored tokens, row after row of `mask`."""
    mask: torch.Tensor
    """(B, C) bool, where the scored tokens belong."""


def one_row(positions: torch.Tensor) -> torch.Tensor:
    """Positions (R, N) of a packed row as a forward takes them: (3, 1, N) under M-RoPE, otherwise (1, N)."""
    return positions if len(positions) == 1 else positions.unsqueeze(1)


def pack(prompts: Sequence[Placed], rows: Sequence[int], answers: torch.Tensor, mask: torch.Tensor) -> Packed:
    """Lay prompts and answers end to end.

    Args:
        prompts: P prompts.
        rows: how many consecutive rows of `answers` belong to each prompt.
        answers: (B, C) token ids, padded on the right.
        mask: (B, C) 1 for tokens of the answer.

    Raises:
        ValueError: `rows` does not add up to B.
    """
    if sum(rows) != len(answers) or len(rows) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts with {list(rows)} answers for {len(answers)} rows")
    device = answers.device
    lengths = mask.sum(dim=1).tolist()
    owners = [owner for owner, count in enumerate(rows) for _ in range(count)]
    laid = [max(length - 1, 0) for length in lengths]
    layout = Layout(
        [len(prompt.ids) for prompt in prompts],
        [[laid[row] for row, owner in enumerate(owners) if owner == own] for own in range(len(prompts))],
    )
    ends = list(itertools.accumulate(layout.prompts))
    starts = itertools.accumulate(laid[:-1], initial=layout.prompt_tokens)
    predictors = [
        place
        for owner, start, length in zip(owners, starts, lengths, strict=True)
        if length
        for place in (ends[owner] - 1, *range(start, start + length - 1))
    ]
    places = [prompts[owner].following + torch.arange(length) for owner, length in zip(owners, laid, strict=True)]
    axes = len(prompts[0].positions)
    positions = torch.cat(
        [*(prompt.positions.to(device) for prompt in prompts), *(p.to(device).expand(axes, -1) for p in places)], 1
    )
    ids = torch.cat(
        [*(prompt.ids.to(device) for prompt in prompts), *(a[:n] for a, n in zip(answers, laid, strict=True))]
    )
    kept = mask.bool()
    return Packed(
        ids.unsqueeze(0),
        positions,
        layout,
        torch.tensor(predictors, dtype=torch.long, device=device),
        answers[kept].unsqueeze(0),
        kept,
    )
