"""Rewards and advantages of a prompt's completions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.rewards import accuracy, format_reward, length_reward
from tasks.core.schemas.records import Record
from tasks.grpo.objectives import Evidence, Objective, Terms
from tasks.grpo.objectives.base import mean_over_views
from tasks.grpo.rollout import Completion

STD_FLOOR = 1e-4
"""Added to the standard deviation, as in TRL and the published code."""
EQUAL = 1e-8
"""Rewards no further apart than this have no variance."""


class Comparison(NamedTuple):
    """Log-probabilities of completions of one prompt under its views."""

    log_probs: list[list[float]]
    """(completions, tokens) under the ordered view, nats."""
    drops: list[list[list[float]]]
    """(views, completions, tokens): log-probability under the ordered view minus that under the other, nats."""

    def total_drops(self) -> list[float]:
        """Nats that each completion loses, summed over its tokens, in the mean over the views."""
        return [sum(tokens) for tokens in mean_over_views(self.drops)]


class Rewards(NamedTuple):
    """How completions are rewarded: parts of the `grpo` section."""

    objective: Objective
    variant: str
    """strict or robust; see `core/rewards`."""
    format_weight: float
    length: dict[str, Any] | None
    """Arguments of `length_reward`; None gives none."""


class GroupScore(NamedTuple):
    """Reward parts of one prompt: G values each, and G~ of the perturbed completions."""

    accuracy: list[float]
    format: list[float]
    length: list[float]
    terms: Terms | None
    """What the objective adds; None where it compared nothing."""
    accuracy_perturbed: list[float]
    format_perturbed: list[float]
    total: list[float]
    """What is normalised into advantages."""
    parsed: list[bool]
    """Whether each completion could be read as its type asks."""

    @property
    def advantage_terms(self) -> list[float]:
        """G values added to advantages after normalisation."""
        return self.terms.advantage if self.terms else [0.0] * len(self.total)

    @property
    def finite(self) -> bool:
        """Whether every reward, and every term added to an advantage, is a finite number."""
        return all(map(math.isfinite, [*self.total, *self.advantage_terms]))

    @property
    def varies(self) -> bool:
        """Whether the rewards tell the completions apart."""
        return max(self.total) - min(self.total) > EQUAL

    @property
    def has_signal(self) -> bool:
        """Whether any completion gets an advantage."""
        return self.varies or any(self.advantage_terms)


def score_group(
    record: Record,
    completions: Sequence[Completion],
    perturbed: Sequence[Completion],
    rewards: Rewards,
    comparison: Comparison | None = None,
    seed: int = 0,
) -> GroupScore:
    """Score the completions of one prompt.

    Args:
        record: the question.
        completions: G, on ordered frames.
        perturbed: G~ (or none), on the objective's first other view.
        rewards: what is paid.
        comparison: log-probabilities of the G under every view; None where that was not asked.
        seed: fixed by run, step and prompt; for what the objective draws at random.
    """
    scores = [
        accuracy(record.problem_type, completion.text, record.solution, rewards.variant) for completion in completions
    ]
    right = [score.value for score in scores]
    right_perturbed = [
        accuracy(record.problem_type, completion.text, record.solution, rewards.variant).value
        for completion in perturbed
    ]
    shape = [format_reward(completion.text, rewards.variant) for completion in completions]
    shape_perturbed = [format_reward(completion.text, rewards.variant) for completion in perturbed]
    length = [0.0] * len(completions)
    if rewards.length is not None:
        length = length_reward(right, [len(completion.ids) for completion in completions], **rewards.length)
    evidence = Evidence(
        right,
        [completion.text for completion in completions],
        right_perturbed,
        [completion.text for completion in perturbed],
        comparison.log_probs if comparison else None,
        comparison.drops if comparison else None,
        seed,
    )
    terms = rewards.objective.terms(evidence)
    before = terms.reward if terms else [0.0] * len(completions)
    total = [a + rewards.format_weight * f + w + b for a, f, w, b in zip(right, shape, length, before, strict=True)]
    parsed = [score.parsed for score in scores]
    return GroupScore(right, shape, length, terms, right_perturbed, shape_perturbed, total, parsed)


def advantages(rewards: torch.Tensor, scale: str) -> torch.Tensor:
    """Rewards (P, G) minus their group's mean, over a standard deviation.

    Args:
        rewards: one row per prompt of the step, over all processes; a lost prompt's row is NaN.
        scale: "group": the group's own deviation; "batch": that of all rewards; "none": no division.

    Returns:
        (P, G); 0 for lost prompts, and where a group's rewards are equal.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    # A mean of equal numbers may be rounded off them, which the floor of 1e-4 below would make an advantage of 0.002.
    centred[rewards.amax(dim=1) - rewards.amin(dim=1) <= EQUAL] = 0.0
    if scale == "group":
        centred = centred / (rewards.std(dim=1, keepdim=True) + STD_FLOOR)
    elif scale == "batch":
        centred = centred / (rewards[~rewards.isnan()].std() + STD_FLOOR)
    elif scale != "none":
        raise ValueError(f"scale {scale!r}; one of group, batch, none")
    return centred.nan_to_num(nan=0.0)
