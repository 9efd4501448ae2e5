"""A process's part of the groups as rows: TRL's buffer, and what of it has a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from tasks.core.train.rows import EncodedPrompt, pad_rows
from tasks.grpo.groups import Group, Held
from tasks.grpo.rollout import Answer
from tasks.grpo.scoring import Comparison

LOST = "lost"
"""Key of rows whose prompt was left out."""
PER_ROW = ("grpo", "sapo", "luspo", "dr_grpo")
"""Losses divided by the rows of a micro-batch. `bnpo` divides by its tokens, the others by the tokens of all ranks."""


def encoded_views(held: Sequence[Held], lost: EncodedPrompt) -> dict[str, EncodedPrompt]:
    """Encoded views by key, and the row that stands for a lost prompt."""
    views = [view for each in held if each.views for view in (each.views.ordered, *each.views.perturbed)]
    return {view.key: view.encoded for view in views} | {LOST: lost}


def totals(groups: Sequence[Group], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and the terms added to advantages, both (P, G); a lost prompt's are NaN and 0."""
    rewards = [group.score.total if group else [torch.nan] * size for group in groups]
    after = [group.score.advantage_terms if group else [0.0] * size for group in groups]
    return torch.tensor(rewards), torch.tensor(after)


def training_rows(
    held: Sequence[Held],
    groups: Mapping[int, Group],
    advantages: Mapping[int, Sequence[float]],
    encoded: Mapping[str, EncodedPrompt],
    pad: int,
) -> tuple[dict[str, torch.Tensor], list[str], list[str]]:
    """Ordered answers as padded rows, in the order of `held`; a lost prompt keeps its place as rows without loss.

    Args:
        held: this process's places.
        groups: whole groups by slot.
        advantages: G values by slot.
        encoded: see `encoded_views`.
        pad: padding token.

    Returns:
        `padded_answers` of the rows with advantages and valid (rows,), and rollout_logps (rows, C) if the rollout
        engine gave log-probabilities; each row's view key; each row's problem type.
    """
    keys: list[str] = []
    answers: list[Answer] = []
    values: list[float] = []
    types: list[str] = []
    for place, views, sampled, _ in held:
        group = groups[place.slot]
        known = group is not None and views is not None
        keys += [views.ordered.key if known and views else LOST] * len(place.ordered)
        answers += sampled if known else [Answer([pad], "", truncated=False)] * len(place.ordered)
        values += [advantages[place.slot][copy] for copy in place.ordered]
        types += [group.prompt.record.problem_type if group else ""] * len(place.ordered)
    lost = torch.tensor([key == LOST for key in keys])
    rows = padded_answers(keys, answers, encoded, pad)
    rows["completion_mask"] = rows["completion_mask"].masked_fill(lost.unsqueeze(1), 0)
    rows |= {"advantages": torch.tensor(values), "valid": ~lost}
    if any(answer.logps is not None for answer in answers):
        logps = [torch.tensor(answer.logps or [torch.nan] * len(answer.ids)) for answer in answers]
        rows["rollout_logps"] = pad_sequence(logps, batch_first=True, padding_value=torch.nan)
    return rows, keys, types


def comparisons(sides: Sequence[torch.Tensor], lengths: Sequence[Sequence[int]]) -> list[Comparison]:
    """Log-probabilities by prompt.

    Args:
        sides: (rows, C) under the ordered view, then under every other; the rows of a prompt follow one another.
        lengths: tokens of each answer of each prompt.
    """
    ordered, *others = sides
    values = [ordered.tolist(), *((ordered - other).tolist() for other in others)]
    found, start = [], 0
    for prompt in lengths:
        log_probs, *drops = [
            [tokens[:length] for tokens, length in zip(side[start : start + len(prompt)], prompt, strict=True)]
            for side in values
        ]
        found.append(Comparison(log_probs, drops))
        start += len(prompt)
    return found


def token_weights(held: Sequence[Held], groups: Mapping[int, Group], mask: torch.Tensor) -> torch.Tensor | None:
    """What the advantages of this process's answers are multiplied by, token by token.

    Args:
        held: this process's places, in row order.
        groups: whole groups by slot; the objective's terms hold the weights.
        mask: (rows, C) tokens of the answers, none of a lost prompt's.

    Returns:
        (rows, C), 1 where an objective weights nothing; None where it weights no row.
    """
    weights = torch.ones(mask.shape)
    rows = [(groups[each.place.slot], copy) for each in held for copy in each.place.ordered]
    weighted = False
    for row, (group, copy) in enumerate(rows):
        terms = group.score.terms if group else None
        if terms is not None and terms.token_weights is not None and mask[row].any():
            own = terms.token_weights[copy]
            weights[row, : len(own)] = torch.tensor(own)
            weighted = True
    return weights if weighted else None


def padded_answers(
    keys: Sequence[str], answers: Sequence[Answer], encoded: Mapping[str, EncodedPrompt], pad: int
) -> dict[str, torch.Tensor]:
    """prompt_ids, prompt_mask (B, L; left-padded), completion_ids, completion_mask (B, C; right-padded) of rows."""
    prompts = [encoded[key].ids for key in keys]
    ids = [torch.tensor(answer.ids) for answer in answers]
    return {
        "prompt_ids": pad_rows(prompts, pad, "left"),
        "prompt_mask": pad_rows([torch.ones_like(row) for row in prompts], 0, "left"),
        "completion_ids": pad_rows(ids, pad, "right"),
        "completion_mask": pad_rows([torch.ones_like(row) for row in ids], 0, "right"),
    }


def rows_with_gradient(
    valid: torch.Tensor, advantages: torch.Tensor, skip_zero: bool, at_least: int = 1
) -> torch.Tensor:
    """Indices of valid rows, with `skip_zero` only those with an advantage ((B,) or by token (B, C)), ascending.

    Filled up to `at_least` with rows that add nothing to the loss: backward must run on every process, and TRL gathers
    a figure per row, for which all processes need the same number of them.
    """
    told = advantages != 0 if advantages.ndim == 1 else (advantages != 0).any(dim=1)
    keep = valid & told if skip_zero else valid.clone()
    missing = at_least - int(keep.sum())
    if missing > 0:
        keep[(~keep).nonzero().squeeze(1)[:missing]] = True
    return keep.nonzero().squeeze(1)


def normaliser_share(
    loss_type: str, kept: torch.Tensor, rows: float, tokens: float, completion_mask: torch.Tensor
) -> float:
    """What the loss over `kept` is multiplied by to be the loss over all valid rows of all processes.

    A valid row left out for want of advantage still counts in what the loss divides by, and processes that lost prompts
    count for less.

    Args:
        loss_type: TRL's.
        kept: indices of the rows in the loss.
        rows: valid rows of this micro-batch, mean over processes.
        tokens: their tokens, mean over processes.
        completion_mask: (B, C), 0 for lost rows.
    """
    if loss_type in PER_ROW:
        return len(kept) / max(rows, 1.0)
    if loss_type == "bnpo":
        return float(completion_mask[kept].sum()) / max(tokens, 1.0)
    return 1.0


def take(value: Any, rows: torch.Tensor) -> Any:
    """Rows of a batch entry: a tensor, a list, or a scalar that belongs to all rows."""
    if isinstance(value, list):
        return [value[row] for row in rows.tolist()]
    return value[rows] if value.ndim else value
