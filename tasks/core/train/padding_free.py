"""A batch of prompts and their completions as one row without padding.

    prompt 1, completion 1 | prompt 2, completion 2 | ...

For attention (`split_attention.py`) each pair is a prompt without completions: it attends to itself, causally.
Only the tokens that predict a completion leave the last layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from tasks.core.models.protocols import Model
from tasks.core.train.packing import Layout, PositionedPrompt, one_row
from tasks.core.train.prepare import prepare
from tasks.core.train.rows import EncodedPrompt
from tasks.core.train.shared_prefix import NO_MASK, with_positions

Positioner = Callable[[EncodedPrompt], PositionedPrompt]


def positioner(model: Model) -> Positioner:
    """Prepare a model for the batches of `join`; returns what gives a prompt its positions by the model's own rule.

    Raises:
        ValueError: see `use_shared_prefix`.
    """
    return partial(with_positions, prepare(model, packed=True))


def join(
    prompts: Sequence[PositionedPrompt], completions: Sequence[torch.Tensor], labels: Sequence[torch.Tensor]
) -> dict[str, Any]:
    """One row of all prompts, each with its completion behind it.

    Args:
        prompts: B prompts of at least one token.
        completions: B completions, (A_i,) token ids; the last of each predicts nothing and is left out.
        labels: B, (A_i,) the tokens to learn, -100 for a token without loss.

    Returns:
        What `read` takes, media apart: input_ids, attention_mask (1, N); position_ids (R, N); row_lengths (B,);
        predictors (S,), where in the row each completion token is predicted; shift_labels (1, S), their labels.
    """
    rows = [_behind(prompt, completion[:-1]) for prompt, completion in zip(prompts, completions, strict=True)]
    lengths = [row.ids.numel() for row in rows]
    starts = itertools.accumulate(lengths[:-1], initial=0)
    predictors = [
        start + len(prompt.ids) - 1 + torch.arange(len(completion))
        for start, prompt, completion in zip(starts, prompts, completions, strict=True)
    ]
    ids = torch.cat([row.ids for row in rows]).unsqueeze(0)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "position_ids": torch.cat([row.positions for row in rows], dim=1),
        "row_lengths": torch.tensor(lengths),
        "predictors": torch.cat(predictors),
        "shift_labels": torch.cat(list(labels)).unsqueeze(0),
    }


def read(
    model: Model, *, row_lengths: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, **batch: Any
) -> Any:
    """Forward over a batch of `join` with its media. Its mask only counts tokens: none of them is padding.

    Args:
        model: a model after `positioner`, wrapped or not.
        row_lengths: (B,) tokens of each pair.
        attention_mask: (1, N).
        position_ids: (R, N).
        batch: what else `join` gave, and further arguments of the model.
    """
    lengths = row_lengths.tolist()
    return model(
        attention_mask=NO_MASK.to(position_ids.device),
        position_ids=one_row(position_ids),
        shared_prefix=Layout(lengths, [[] for _ in lengths]),
        **batch,
    )


def _behind(prompt: PositionedPrompt, completion: torch.Tensor) -> PositionedPrompt:
    """The prompt with a completion behind it."""
    places = prompt.following + torch.arange(len(completion))
    return PositionedPrompt(
        torch.cat([prompt.ids, completion]),
        torch.cat([prompt.positions, places.expand(len(prompt.positions), -1)], dim=1),
        prompt.following + len(completion),
    )
