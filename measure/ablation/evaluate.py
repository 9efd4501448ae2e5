"""The likeliest answers of a policy to the test split, with ordered and with shuffled frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.engine.sampler import end_tokens, generation_settings
from tasks.core.rewards import accuracy
from tasks.core.train.clips import ClipStore
from tasks.core.train.features import encode_media
from tasks.grpo.data import Prompt, open_views
from tasks.grpo.objectives.perturbations import Shuffle
from tasks.grpo.rollout import sample

BATCH = 32
"""Prompts per batch."""


class SkillScore(NamedTuple):
    """Mean accuracy of one skill's questions."""

    questions: int
    accuracy: float
    accuracy_shuffled: float | None
    """None where frame order does not matter."""


class Scores(NamedTuple):
    """Mean accuracy by kind of question."""

    temporal: float
    """Questions that only the order of frames answers."""
    static: float
    temporal_shuffled: float
    """The temporal ones, on shuffled frames; one shuffle per question, the same for every policy."""
    skills: dict[str, SkillScore]
    """By skill asked for, in alphabetical order."""


@torch.no_grad()
def evaluate(
    model: Any, processor: Any, prompts: Sequence[Prompt], clips: ClipStore, *, seed: int, max_tokens: int, variant: str
) -> Scores:
    """Score a policy.

    Args:
        model: the policy.
        processor: its processor.
        prompts: the test split.
        clips: decoded frames.
        seed: of the shuffles.
        max_tokens: longest answer.
        variant: reward variant.

    Raises:
        VideoError: a test clip does not decode; rendered splits have none.
        ValueError: the split lacks temporal or static questions.
    """
    config = generation_settings(processor, end_tokens(model, processor), max_tokens)
    accuracies: dict[tuple[bool, bool, str], list[float]] = defaultdict(list)
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        clips.expect((p.record.path, p.record.data_type) for p in prompts[start : start + 2 * BATCH])
        opened = [
            open_views(p, 0, clips=clips, processor=processor, perturbations=(Shuffle(),), seed=seed, on_skip=_refuse)
            for p in batch
        ]
        asked = [
            (prompt, view)
            for prompt, views in zip(batch, opened, strict=True)
            for view in ((views.ordered, *views.perturbed) if views else ())
            if prompt.record.temporal or not view.perturbed
        ]
        encoded = [view.encoded for _, view in asked]
        answers = sample(model, encoded, encode_media(model, encoded), [1] * len(asked), config)
        for (prompt, view), [ids] in zip(asked, answers, strict=True):
            text = processor.tokenizer.decode(ids, skip_special_tokens=True)
            value = accuracy(prompt.record.problem_type, text, prompt.record.solution, variant).value
            accuracies[bool(prompt.record.temporal), view.perturbed, prompt.record.skill].append(value)
    return summary(accuracies)


def summary(accuracies: Mapping[tuple[bool, bool, str], Sequence[float]]) -> Scores:
    """Means of accuracies by (temporal, frames shuffled, skill).

    Raises:
        ValueError: no temporal or no static questions.
    """
    kinds = {"temporal": (True, False), "static": (False, False), "shuffled": (True, True)}
    values = {
        name: [v for key, some in accuracies.items() if key[:2] == kind for v in some] for name, kind in kinds.items()
    }
    if empty := [kind for kind, some in values.items() if not some]:
        raise ValueError(f"the test split has no {' and no '.join(empty)} questions")
    means = {kind: sum(some) / len(some) for kind, some in values.items()}
    skills = {}
    for temporal, _, skill in sorted((key for key in accuracies if not key[1]), key=lambda key: key[2]):
        right, mixed = accuracies[temporal, False, skill], accuracies.get((temporal, True, skill))
        skills[skill] = SkillScore(len(right), sum(right) / len(right), sum(mixed) / len(mixed) if mixed else None)
    return Scores(means["temporal"], means["static"], means["shuffled"], skills)


def _refuse(record: Any, reason: str) -> None:
    raise RuntimeError(f"{record.path}: {reason}")
