"""Token averages of a backward pass, by problem type."""

from __future__ import annotations

from typing import Any

import torch

from tasks.core.schemas.records import PROBLEM_TYPES

FIGURES = ("tokens", "entropy", "kl", "drift", "rollout_tokens")
"""Columns of the sums."""


def token_sums(rows: dict[str, Any], logps: torch.Tensor, entropies: torch.Tensor | None) -> torch.Tensor:
    """Sums (problem types, FIGURES) over the tokens of this process's rows.

    Args:
        rows: completion_mask (B, C), problem_type (B names, "" for a lost row), and where there are any
            ref_per_token_logps (B, C) of the reference model and rollout_log_probs (B, C) of the rollout engine, NaN
            where it gave none.
        logps: (B, C) of the policy.
        entropies: (B, C), or None.
    """
    mask, logps = rows["completion_mask"].bool(), logps.detach()
    nothing = torch.zeros_like(logps)
    kl = drift = nothing
    if "ref_per_token_logps" in rows:
        gap = rows["ref_per_token_logps"] - logps
        kl = gap.exp() - gap - 1  # TRL's estimator
    known = torch.zeros_like(mask)
    if "rollout_log_probs" in rows:
        known = mask & ~rows["rollout_log_probs"].isnan()
        drift = (rows["rollout_log_probs"] - logps).abs().masked_fill(~known, 0.0)
    values = torch.stack([mask.float(), nothing if entropies is None else entropies.detach(), kl, drift, known.float()])
    by_row = values.masked_fill(~mask, 0.0).double().sum(dim=2)  # (FIGURES, B)
    sums = torch.zeros(len(PROBLEM_TYPES), len(FIGURES), dtype=torch.float64, device=logps.device)
    for row, kind in enumerate(rows["problem_type"]):
        if kind in PROBLEM_TYPES:
            sums[PROBLEM_TYPES.index(kind)] += by_row[:, row]
    return sums.float()


def token_metrics(sums: torch.Tensor, with_kl: bool) -> dict[str, float]:
    """`entropy/<type>` and `kl/<type>` where that type had tokens; `rollout_drift`, the mean |difference| in nats.

    Whole-step entropy and KL are TRL's own metrics. The clip share has no types: a step is one update on completions
    that the same weights sampled, so every ratio is 1 and nothing is clipped.
    """
    metrics = {}
    for kind, (tokens, entropy, kl, _, _) in zip(PROBLEM_TYPES, sums.tolist(), strict=True):
        if tokens:
            metrics[f"entropy/{kind}"] = entropy / tokens
            metrics |= {f"kl/{kind}": kl / tokens} if with_kl else {}
    drift, known = sums[:, 3].sum().item(), sums[:, 4].sum().item()
    return metrics | ({"rollout_drift": drift / known} if known else {})
