"""Rewards and advantages of a prompt's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from tasks.core.rewards import accuracy, format_reward, length_reward
from tasks.core.schemas.records import Record
from tasks.grpo.rollout import Answer
from tasks.grpo.temporal import Contrast, contrast, likelihood_contrast
from tasks.params import Grpo, Temporal

STD_FLOOR = 1e-4
"""Added to the standard deviation, as in TRL and the published code."""
EQUAL = 1e-8
"""Rewards no further apart than this have no variance."""


class GroupScore(NamedTuple):
    """Reward parts of one prompt: G values each, and G~ accuracies of the shuffled answers (none without contrast)."""

    accuracy: list[float]
    format: list[float]
    length: list[float]
    contrast: Contrast | None
    accuracy_shuffled: list[float]
    format_shuffled: list[float]
    total: list[float]
    """What is normalised into advantages."""
    after: list[float]
    """Added to the advantages after normalisation."""
    parsed: list[bool]
    """Whether each answer could be read as its type asks."""

    @property
    def varies(self) -> bool:
        """Whether the rewards tell the answers apart."""
        return max(self.total) - min(self.total) > EQUAL

    @property
    def teaches(self) -> bool:
        """Whether any answer gets an advantage."""
        return self.varies or any(self.after)


def score_group(
    record: Record,
    answers: Sequence[Answer],
    shuffled: Sequence[Answer],
    settings: Grpo,
    drops: Sequence[float] | None = None,
) -> GroupScore:
    """Score the answers to one prompt.

    Args:
        record: the question.
        answers: G, on ordered frames.
        shuffled: G~ (or none), on shuffled frames.
        settings: the `grpo` section.
        drops: how many nats each ordered answer loses under shuffled frames; None where that was not asked.
    """
    scores = [
        accuracy(record.problem_type, answer.text, record.solution, settings.reward_variant) for answer in answers
    ]
    right = [score.value for score in scores]
    right_shuffled = [
        accuracy(record.problem_type, answer.text, record.solution, settings.reward_variant).value
        for answer in shuffled
    ]
    shape = [format_reward(answer.text, settings.reward_variant) for answer in answers]
    shape_shuffled = [format_reward(answer.text, settings.reward_variant) for answer in shuffled]
    window, temporal = settings.length, settings.temporal
    none = [0.0] * len(answers)
    length = none
    if window.enabled:
        length = length_reward(
            right,
            [len(answer.ids) for answer in answers],
            omega=window.omega,
            min_tokens=window.min_tokens,
            max_tokens=window.max_tokens,
            correct_above=temporal.correct_above,
        )
    compared = _compare(right, right_shuffled, drops, temporal)
    bonus = compared.bonus if compared else none
    before, after = (bonus, none) if temporal.mode == "reward" else (none, bonus)
    total = [a + settings.format_weight * f + w + b for a, f, w, b in zip(right, shape, length, before, strict=True)]
    parsed = [score.parsed for score in scores]
    return GroupScore(right, shape, length, compared, right_shuffled, shape_shuffled, total, after, parsed)


def _compare(
    right: Sequence[float], right_shuffled: Sequence[float], drops: Sequence[float] | None, temporal: Temporal
) -> Contrast | None:
    """The contrast that the mode asks for; None for images and where there is none."""
    alpha, above = temporal.alpha, temporal.correct_above
    if temporal.mode == "logprob":
        if drops is None:
            return None
        return likelihood_contrast(
            right, drops, alpha=alpha, nats=temporal.nats, correct_above=above, centred=temporal.centred
        )
    if not right_shuffled:
        return None
    return contrast(right, right_shuffled, mode=temporal.mode, alpha=alpha, mu=temporal.mu, correct_above=above)


def advantages(rewards: torch.Tensor, scale: str) -> torch.Tensor:
    """Rewards (P, G) minus their group's mean, over a standard deviation.

    Args:
        rewards: one row per prompt of the step, over all processes; a lost prompt's row is NaN.
        scale: "group": the group's own deviation; "batch": that of all rewards; "none": no division.

    Returns:
        (P, G); 0 for lost prompts.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    if scale == "group":
        centred = centred / (rewards.std(dim=1, keepdim=True) + STD_FLOOR)
    elif scale == "batch":
        centred = centred / (rewards[~rewards.isnan()].std() + STD_FLOOR)
    elif scale != "none":
        raise ValueError(f"scale {scale!r}; one of group, batch, none")
    return centred.nan_to_num(nan=0.0)
