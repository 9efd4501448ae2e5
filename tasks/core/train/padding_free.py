"""A batch of prompts and their answers as one row without padding.

    prompt 1, answer 1 | prompt 2, answer 2 | ...

To attention (`split_attention.py`) each pair is a prompt of its own with nothing behind it: it sees itself, causally.
Only the tokens that predict an answer leave the last layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from tasks.core.train.packing import Layout, Placed, one_row
from tasks.core.train.prepare import prepare
from tasks.core.train.rows import EncodedPrompt
from tasks.core.train.shared_prefix import NO_MASK, placed

Placer = Callable[[EncodedPrompt], Placed]


def placer(model: Any) -> Placer:
    """Let a model read the batches of `join`, and place prompts by its own rule.

    Raises:
        ValueError: see `use_shared_prefix`.
    """
    return partial(placed, prepare(model, packed=True))


def join(prompts: Sequence[Placed], answers: Sequence[torch.Tensor], labels: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Lay every prompt with its answer behind it end to end.

    Args:
        prompts: B prompts of at least one token.
        answers: B answers, (A_i,) token ids; the last of each predicts nothing and is not laid down.
        labels: B, (A_i,) what is learned of the answers, -100 where nothing is.

    Returns:
        What `read` takes, media apart: input_ids, attention_mask (1, N); position_ids (R, N); row_lengths (B,);
        predictors (S,), where in the row each answer token is predicted; shift_labels (1, S), their labels.
    """
    rows = [_behind(prompt, answer[:-1]) for prompt, answer in zip(prompts, answers, strict=True)]
    lengths = [row.ids.numel() for row in rows]
    starts = itertools.accumulate(lengths[:-1], initial=0)
    predictors = [
        start + len(prompt.ids) - 1 + torch.arange(len(answer))
        for start, prompt, answer in zip(starts, prompts, answers, strict=True)
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
    model: Any, *, row_lengths: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, **batch: Any
) -> Any:
    """Forward over a batch of `join` with its media; its mask only counts tokens, for every one of them is real.

    Args:
        model: a model after `placer`, wrapped or not.
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


def _behind(prompt: Placed, answer: torch.Tensor) -> Placed:
    """The prompt with an answer behind it."""
    places = prompt.following + torch.arange(len(answer))
    return Placed(
        torch.cat([prompt.ids, answer]),
        torch.cat([prompt.positions, places.expand(len(prompt.positions), -1)], dim=1),
        prompt.following + len(answer),
    )
