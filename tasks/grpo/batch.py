"""Completions of this process as rows of tensors: rows to score, TRL's buffer, and the rows that have a gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from tasks.core.train.rows import EncodedPrompt, pad_rows
from tasks.core.train.shared_prefix import Scores
from tasks.grpo.data import View
from tasks.grpo.forwards import Rows
from tasks.grpo.groups import Group, LocalPart
from tasks.grpo.rollout import Completion
from tasks.grpo.scoring import Comparison

LOST = "lost"
"""Key of rows whose prompt was left out."""
PER_ROW = ("grpo", "sapo", "luspo", "dr_grpo")
"""Losses divided by the rows of a micro-batch. `bnpo` divides by its tokens, the others by the tokens of all ranks."""


def totals(groups: Sequence[Group | None], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and the terms added to advantages, both (P, G); a lost prompt's are NaN and 0."""
    rewards = [group.score.total if group else [torch.nan] * size for group in groups]
    terms = [group.score.advantage_terms if group else [0.0] * size for group in groups]
    return torch.tensor(rewards), torch.tensor(terms)


def training_batch(
    local: Sequence[LocalPart],
    groups: Mapping[int, Group | None],
    advantages: Mapping[int, Sequence[float]],
    lost: EncodedPrompt,
    pad: int,
    contrast: bool = False,
) -> dict[str, Any]:
    """Completions on ordered frames as TRL's buffer, in the order of `local`; a lost prompt's rows have no loss.

    Args:
        local: this process's parts.
        groups: whole groups by slot.
        advantages: G values by slot.
        lost: the prompt of rows whose own was lost.
        pad: padding token.
        contrast: whether the update reads the first other view too.

    Returns:
        By row: prompt_ids, prompt_mask (B, L), completion_ids, completion_mask (B, C), advantages (B,) or by token
        (B, C), valid (B,), slot (B,), lists view (key), prompt (encoded) and problem_type ("" for a lost prompt), and
        if the rollout engine gave log-probabilities rollout_log_probs (B, C), NaN where it gave none. With `contrast`
        other_view, other_prompt and contrasted (B,): whether the row has another view; its own stands there if not.
    """
    keys: list[str] = []
    prompts: list[EncodedPrompt] = []
    completions: list[Completion] = []
    values: list[float] = []
    types: list[str] = []
    slots: list[int] = []
    for part, views, sampled, _ in local:
        group, count = groups[part.slot], len(part.ordered)
        known = group is not None and views is not None
        keys += [views.ordered.key if known and views else LOST] * count
        prompts += [views.ordered.encoded if known and views else lost] * count
        completions += sampled if known else [Completion([pad], "", truncated=False)] * count
        values += [advantages[part.slot][copy] for copy in part.ordered]
        types += [group.prompt.record.problem_type if group else ""] * count
        slots += [part.slot] * count
    rows = padded_rows(keys, prompts, completions, pad)
    valid = torch.tensor([key != LOST for key in keys])
    batch: dict[str, Any] = {
        "prompt_ids": pad_rows([prompt.ids for prompt in prompts], pad, "left"),
        "prompt_mask": pad_rows([torch.ones_like(prompt.ids) for prompt in prompts], 0, "left"),
        "completion_ids": rows.completion_ids,
        "completion_mask": rows.completion_mask.masked_fill(~valid.unsqueeze(1), 0),
        "advantages": torch.tensor(values),
        "valid": valid,
        "slot": torch.tensor(slots),
        "view": keys,
        "prompt": prompts,
        "problem_type": types,
    }
    if (weights := token_weights(local, groups, batch["completion_mask"])) is not None:
        batch["advantages"] = batch["advantages"].unsqueeze(1) * weights
    if contrast:
        other = [_other(part) for part in local for _ in part.part.ordered]
        batch["contrasted"] = batch["valid"] & torch.tensor([view is not None for view in other])
        both = list(zip(other, batch["contrasted"].tolist(), keys, prompts, strict=True))
        batch["other_view"] = [view.key if view and given else key for view, given, key, _ in both]
        batch["other_prompt"] = [view.encoded if view and given else own for view, given, _, own in both]
    if any(completion.log_probs is not None for completion in completions):
        batch["rollout_log_probs"] = rollout_log_probs(completions)
    return batch


def rollout_log_probs(completions: Sequence[Completion]) -> torch.Tensor:
    """Log-probabilities (B, C) that the rollout engine gave; NaN on padding and where it gave none."""
    by_row = [torch.tensor(c.log_probs or [torch.nan] * len(c.ids)) for c in completions]
    return pad_sequence(by_row, batch_first=True, padding_value=torch.nan)


def _other(part: LocalPart) -> View | None:
    return part.views.perturbed[0] if part.views is not None and part.views.perturbed else None


def rows_of(batch: Mapping[str, Any]) -> Rows:
    """The part of TRL's buffer that a forward reads."""
    return Rows(batch["view"], batch["prompt"], batch["completion_ids"], batch["completion_mask"])


def rows_of_both_views(batch: Mapping[str, Any]) -> Rows:
    """The rows of TRL's buffer, then the same completions under their other view."""
    keys, prompts = batch["view"] + batch["other_view"], batch["prompt"] + batch["other_prompt"]
    return Rows(keys, prompts, batch["completion_ids"].repeat(2, 1), batch["completion_mask"].repeat(2, 1))


def halves(scores: Scores) -> tuple[Scores, Scores]:
    """Scores of such rows under their own view, and under the other."""
    log_probs, entropy = scores
    size = len(log_probs) // 2
    own, other = log_probs.split(size)
    first, second = (None, None) if entropy is None else entropy.split(size)
    return Scores(own, first), Scores(other, second)


def view_divergence(log_probs: torch.Tensor, others: torch.Tensor, mask: torch.Tensor, most: float) -> torch.Tensor:
    """Mean over each row's tokens (B,) of exp(d) - d - 1, d the log-probability (B, C) that the other view adds.

    An estimate of the divergence of what the policy says under both views; a token's is at most `most` nats and has no
    gradient there.
    """
    added = (others - log_probs).clamp(-most - 1, math.log1p(most) + 1)  # the exponential of more may be infinite
    tokens = (added.exp() - added - 1).clamp(max=most) * mask
    return tokens.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def rollout_scores(compared: Sequence[LocalPart]) -> torch.Tensor | None:
    """Log-probabilities (rows, C) under the ordered view that sampling left; None where it left some out."""
    rows = [completion.policy_log_probs for part in compared for completion in part.completions]
    given = [torch.tensor(row) for row in rows if row is not None]
    return pad_sequence(given, batch_first=True) if len(given) == len(rows) else None


def scored_rows(compared: Sequence[LocalPart], pad: int, ordered: bool = True) -> Rows:
    """Completions of parts under every view: all of them under the ordered one, then all under the first other, ...

    Without `ordered`, under the others alone.
    """
    completions = [completion for part in compared for completion in part.completions]
    shown = ([*[part.views.ordered] * ordered, *part.views.perturbed] for part in compared if part.views)
    sides = zip(*shown, strict=True)
    views: list[View] = [
        view for side in sides for view, part in zip(side, compared, strict=True) for _ in part.completions
    ]
    repeated = completions * (len(views) // len(completions))
    return padded_rows([view.key for view in views], [view.encoded for view in views], repeated, pad)


def padded_rows(
    keys: Sequence[str], prompts: Sequence[EncodedPrompt], completions: Sequence[Completion], pad: int
) -> Rows:
    """Completions as rows, padded on the right."""
    ids = [torch.tensor(completion.ids) for completion in completions]
    mask = pad_rows([torch.ones_like(row) for row in ids], 0, "right")
    return Rows(keys, prompts, pad_rows(ids, pad, "right"), mask)


def whole_prompts(batches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Micro-batches of a step with rows of a prompt together: TRL deals the rows out at random.

    Prompts keep the order in which their first rows came.
    """
    joined: dict[str, Any] = {}
    for name, first in batches[0].items():
        values = [batch[name] for batch in batches]
        if isinstance(first, list):
            joined[name] = [row for value in values for row in value]
        else:
            joined[name] = torch.cat(values) if first.ndim else first
    slots = joined["slot"].tolist()
    order = torch.tensor(sorted(range(len(slots)), key=lambda row: slots.index(slots[row])))
    size = len(slots) // len(batches)
    return [{name: take(value, part) for name, value in joined.items()} for part in order.split(size)]


def comparisons(sides: Sequence[torch.Tensor], lengths: Sequence[Sequence[int]]) -> list[Comparison]:
    """Log-probabilities by prompt.

    Args:
        sides: (rows, C) under the ordered view, then under every other; the rows of a prompt follow one another.
        lengths: tokens of each completion of each prompt.
    """
    ordered, *others = sides
    values = [ordered.tolist(), *((ordered - other).tolist() for other in others)]
    by_prompt, start = [], 0
    for prompt in lengths:
        log_probs, *drops = [
            [tokens[:length] for tokens, length in zip(side[start : start + len(prompt)], prompt, strict=True)]
            for side in values
        ]
        by_prompt.append(Comparison(log_probs, drops))
        start += len(prompt)
    return by_prompt


def token_weights(
    local: Sequence[LocalPart], groups: Mapping[int, Group | None], mask: torch.Tensor
) -> torch.Tensor | None:
    """Factors of the advantages of this process's completions, token by token.

    Args:
        local: this process's parts, in row order.
        groups: whole groups by slot; the objective's terms hold the weights.
        mask: (rows, C) tokens of the completions, none of a lost prompt's.

    Returns:
        (rows, C), 1 where an objective weights nothing; None where it weights no row.
    """
    weights = torch.ones(mask.shape)
    rows = [(groups[each.part.slot], copy) for each in local for copy in each.part.ordered]
    weighted = False
    for row, (group, copy) in enumerate(rows):
        terms = group.score.terms if group else None
        if terms is not None and terms.token_weights is not None and mask[row].any():
            own = terms.token_weights[copy]
            weights[row, : len(own)] = torch.tensor(own)
            weighted = True
    return weights if weighted else None


def rows_with_gradient(
    valid: torch.Tensor, advantages: torch.Tensor, skip_zero: bool, at_least: int = 1
) -> torch.Tensor:
    """Indices of the rows in the loss, ascending: all valid rows, or with `skip_zero` those that have an advantage.

    Filled up to `at_least` with rows that add nothing to the loss: backward must run on every process, and TRL gathers
    one number per row, for which all processes need the same number of rows. Advantages are (B,), or by token (B, C).
    """
    has_advantage = advantages != 0 if advantages.ndim == 1 else (advantages != 0).any(dim=1)
    keep = valid & has_advantage if skip_zero else valid.clone()
    missing = at_least - int(keep.sum())
    if missing > 0:
        keep[(~keep).nonzero().squeeze(1)[:missing]] = True
    return keep.nonzero().squeeze(1)


def normaliser_share(
    loss_type: str, kept: torch.Tensor, rows: float, tokens: float, completion_mask: torch.Tensor
) -> float:
    """Factor that makes the loss over `kept` the loss over all valid rows of all processes.

    A valid row without advantage is left out of `kept`, but the loss is still divided by it; a process that lost
    prompts has less weight.

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


def importance_weights(rollout: torch.Tensor, log_probs: torch.Tensor, cap: float) -> torch.Tensor:
    """Truncated importance weights (B, C): probability of a token under the policy over that under the rollout engine.

    Engine and trainer round differently; without weights the gradient would be that of another policy. Truncation as
    in "Your efficient RL framework secretly brings you off-policy RL training" (Yao et al., 2025).

    Args:
        rollout: (B, C) log-probabilities by the engine; NaN where it gave none, which gives weight 1.
        log_probs: (B, C) by the policy.
        cap: largest weight.
    """
    return (log_probs.detach() - rollout).exp().clamp(max=cap).nan_to_num(nan=1.0)
