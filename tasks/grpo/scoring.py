"""Rewards and advantages of a prompt's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from tasks.core.rewards import accuracy, format_reward, length_reward
from tasks.core.schemas.records import Record
from tasks.grpo.rollout import Answer
from tasks.grpo.temporal import Contrast, contrast
from tasks.params import Grpo

STD_FLOOR = 1e-4
"""Added to the standard deviation, as in TRL and the published code."""


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


def score_group(record: Record, answers: Sequence[Answer], shuffled: Sequence[Answer], settings: Grpo) -> GroupScore:
    """Score the answers to one prompt: G on ordered frames, G~ (or none) on shuffled ones."""

    def accuracies(group: Sequence[Answer]) -> list[float]:
        return [
            accuracy(record.problem_type, answer.text, record.solution, settings.reward_variant).value
            for answer in group
        ]

    def formats(group: Sequence[Answer]) -> list[float]:
        return [format_reward(answer.text, settings.reward_variant) for answer in group]

    right, right_shuffled = accuracies(answers), accuracies(shuffled)
    shape = formats(answers)
    window, temporal = settings.length, settings.temporal
    length = [0.0] * len(answers)
    if window.enabled:
        length = length_reward(
            right,
            [len(answer.ids) for answer in answers],
            omega=window.omega,
            min_tokens=window.min_tokens,
            max_tokens=window.max_tokens,
            correct_above=temporal.correct_above,
        )
    compared = None
    if right_shuffled:
        compared = contrast(
            right,
            right_shuffled,
            mode=temporal.mode,
            alpha=temporal.alpha,
            mu=temporal.mu,
            correct_above=temporal.correct_above,
        )
    bonus = compared.bonus if compared else [0.0] * len(answers)
    none = [0.0] * len(answers)
    before, after = (bonus, none) if temporal.mode == "reward" else (none, bonus)
    total = [a + settings.format_weight * f + w + b for a, f, w, b in zip(right, shape, length, before, strict=True)]
    return GroupScore(right, shape, length, compared, right_shuffled, formats(shuffled), total, after)


def advantages(rewards: torch.Tensor, scale: str, everyone: torch.Tensor | None = None) -> torch.Tensor:
    """Rewards (P, G) minus their group's mean, over a standard deviation.

    Args:
        rewards: one row per prompt; a lost prompt's row is NaN.
        scale: "group": the group's own deviation; "batch": that of `everyone`; "none": no division.
        everyone: rewards of all processes, for "batch".

    Returns:
        (P, G); 0 for lost prompts.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    if scale == "group":
        centred = centred / (rewards.std(dim=1, keepdim=True) + STD_FLOOR)
    elif scale == "batch":
        known = rewards if everyone is None else everyone
        centred = centred / (known[~known.isnan()].std() + STD_FLOOR)
    elif scale != "none":
        raise ValueError(f"scale {scale!r}; one of group, batch, none")
    return centred.nan_to_num(nan=0.0)
