"""A step's groups as rows: TRL's buffer, metrics, rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.train.rows import EncodedPrompt, pad_rows, text_only
from tasks.grpo.data import Prompt, Views
from tasks.grpo.log import group_metrics, rollout_rows
from tasks.grpo.rollout import Answer
from tasks.grpo.scoring import GroupScore

LOST = "lost"
"""Key of rows whose medium did not decode."""
PER_ROW = ("grpo", "sapo", "luspo", "dr_grpo")
"""Losses divided by the rows of a micro-batch. `bnpo` divides by its tokens, the others by the tokens of all ranks."""


class Answered(NamedTuple):
    """A prompt of this step with its answers."""

    prompt: Prompt
    views: Views
    answers: list[Answer]
    """G, on ordered frames."""
    shuffled: list[Answer]
    """G~, on shuffled frames; empty without contrast."""
    score: GroupScore


Group = Answered | None
"""None: the prompt's medium did not decode."""


def encoded_views(groups: Sequence[Group], end: int) -> dict[str, EncodedPrompt]:
    """Encoded ordered views by key, and the one-token row (`end`) that stands for a lost prompt."""
    return {group.views.ordered.key: group.views.ordered.encoded for group in groups if group} | {LOST: text_only(end)}


def totals(groups: Sequence[Group], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and the terms added to advantages, both (P, G); a lost prompt's are NaN and 0."""
    rewards = [group.score.total if group else [torch.nan] * size for group in groups]
    after = [group.score.after if group else [0.0] * size for group in groups]
    return torch.tensor(rewards), torch.tensor(after)


def training_rows(
    groups: Sequence[Group], advantages: torch.Tensor, encoded: Mapping[str, EncodedPrompt], pad: int
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Ordered answers as padded rows, G for each prompt; a lost prompt keeps its place as rows without loss.

    Args:
        groups: P prompts.
        advantages: (P, G).
        encoded: `encoded_views(groups)`.
        pad: padding token.

    Returns:
        prompt_ids, prompt_mask (left-padded), completion_ids, completion_mask (right-padded), advantages and valid
        (P * G,); and each row's view key.
    """
    size = advantages.shape[1]
    keys = [group.views.ordered.key if group else LOST for group in groups for _ in range(size)]
    nothing = [Answer([pad], "", truncated=False)] * size
    ids = [torch.tensor(answer.ids) for group in groups for answer in (group.answers if group else nothing)]
    prompts = [encoded[key].ids for key in keys]
    lost = torch.tensor([key == LOST for key in keys])
    answered = pad_rows([torch.ones_like(row) for row in ids], 0, "right")
    rows = {
        "prompt_ids": pad_rows(prompts, pad, "left"),
        "prompt_mask": pad_rows([torch.ones_like(row) for row in prompts], 0, "left"),
        "completion_ids": pad_rows(ids, pad, "right"),
        "completion_mask": answered.masked_fill(lost.unsqueeze(1), 0),
        "advantages": advantages.flatten().float(),
        "valid": ~lost,
    }
    return rows, keys


def rows_with_gradient(valid: torch.Tensor, advantages: torch.Tensor, skip_zero: bool) -> torch.Tensor:
    """Indices of valid rows, with `skip_zero` only those with an advantage; never empty, for backward must run."""
    keep = valid & (advantages != 0) if skip_zero else valid
    kept = keep.nonzero().squeeze(1)
    return kept if len(kept) else torch.zeros(1, dtype=torch.long, device=valid.device)


def normaliser_share(loss_type: str, kept: torch.Tensor, valid: torch.Tensor, completion_mask: torch.Tensor) -> float:
    """Kept part of what the loss divides by: a valid row left out for want of advantage still counts there."""
    if loss_type in PER_ROW:
        return len(kept) / max(int(valid.sum()), 1)
    if loss_type == "bnpo":
        tokens = completion_mask.sum(dim=1)
        return float(tokens[kept].sum() / tokens[valid].sum().clamp(min=1))
    return 1.0


def take(value: Any, rows: torch.Tensor) -> Any:
    """Rows of a batch entry: a tensor, a list, or a scalar that belongs to all rows."""
    if isinstance(value, list):
        return [value[row] for row in rows.tolist()]
    return value[rows] if value.ndim else value


def step_metrics(groups: Sequence[Group]) -> list[dict[str, float]]:
    """Metrics of each prompt."""
    return [group_metrics(group.score, group.answers) if group else {"skipped": 1.0} for group in groups]


def averaged(entries: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the prompts that have it."""
    names = sorted({name for entry in entries for name in entry})
    known = {name: [entry[name] for entry in entries if name in entry] for name in names}
    return {name: sum(values) / len(values) for name, values in known.items()}


def step_rollouts(groups: Sequence[Group], advantages: torch.Tensor, step: int) -> Iterable[dict[str, Any]]:
    """Rows of the rollout table."""
    for group, values in zip(groups, advantages.tolist(), strict=True):
        if group:
            yield from rollout_rows(group.prompt, group.views, group.answers, group.shuffled, group.score, values, step)
