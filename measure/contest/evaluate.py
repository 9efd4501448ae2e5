"""Scores of a policy by its likeliest answers: counterfactual pairs, invariance, other views, all kinds of question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from measure.contest.quadruples import STATIC, Asked
from tasks.core.engine.sampler import RowSampler, end_tokens, generation_settings
from tasks.core.rewards import accuracy
from tasks.core.schemas.records import Record
from tasks.core.text import answer_of, is_well_formed
from tasks.core.train.clips import ClipStore
from tasks.core.train.features import encode_media
from tasks.grpo.data import View, open_views, render
from tasks.grpo.objectives.perturbations import Freeze, OneFrame, Perturbation, Shuffle
from tasks.grpo.rollout import sample

BATCH = 32
"""Prompts per batch."""
RIGHT_ABOVE = 0.5
UNSEEN = {"frozen": Freeze(), "one_frame": OneFrame(), "shuffled": Shuffle()}
"""Views on which a reader of motion must be at chance."""


class Result(NamedTuple):
    """One answer."""

    right: bool
    answer: str
    well_formed: bool = True
    accuracy: float = 0.0
    """As the benchmark counts it: a part of 1 where an answer can be half right."""
    text: str = ""
    """The whole completion."""


class Policy(NamedTuple):
    """A model and what it needs to be asked."""

    model: Any
    processor: Any
    clips: ClipStore
    prompt: Mapping[str, str]
    max_tokens: int
    variant: str


def pair_scores(asked: Sequence[Asked], results: Sequence[Result]) -> dict[str, float]:
    """Measures over scenes.

    pair_accuracy      forward and reversed both right: 0 for a reader of colour, side or background
    invariance         the recoloured clip gets the forward clip's answer
    mirror_accuracy    forward and mirrored both right
    static_on_moving   questions of static evidence on moving clips
    """
    by_scene: dict[int, dict[str, Result]] = defaultdict(dict)
    static = []
    for question, result in zip(asked, results, strict=True):
        if question.variant == STATIC:
            static.append(result.right)
        else:
            by_scene[question.scene][question.variant] = result
    scenes = list(by_scene.values())
    return {
        "pair_accuracy": _share(s["forward"].right and s["reversed"].right for s in scenes),
        "mirror_accuracy": _share(s["forward"].right and s["mirrored"].right for s in scenes),
        "invariance": _share(s["recoloured"].answer == s["forward"].answer for s in scenes),
        "forward_accuracy": _share(s["forward"].right for s in scenes),
        **({"static_on_moving": _share(static)} if static else {}),
    }


def evaluate(policy: Policy, asked: Sequence[Asked], mixed: Sequence[Record]) -> dict[str, float]:
    """All measures: pairs, views that no objective used, and the mixed split's temporal and static questions."""
    scores = pair_scores(asked, answers(policy, [question.record for question in asked]))
    forward = [question.record for question in asked if question.variant == "forward"]
    for name, view in UNSEEN.items():
        scores[name] = _share(result.right for result in answers(policy, forward, view))
    results = answers(policy, mixed)
    for name, wanted in (("temporal", True), ("static", False)):
        scores[name] = _share(r.right for r, record in zip(results, mixed, strict=True) if record.temporal is wanted)
    return scores


@torch.no_grad()
def answers(
    policy: Policy,
    records: Sequence[Record],
    view: Perturbation | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Result]:
    """The likeliest answer to each question, its clip shown under a view; with a seed for each, one that is sampled.

    Raises:
        RuntimeError: a clip does not decode; rendered ones do.
    """
    prompts = render(records, policy.processor, **policy.prompt)
    config = generation_settings(policy.processor, end_tokens(policy.model, policy.processor), policy.max_tokens)
    results = []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        shown = [_view(policy, prompt, view).encoded for prompt in batch]
        own = None if seeds is None else seeds[start : start + BATCH]
        sampler = None if own is None else RowSampler(own, policy.max_tokens, 1.0, 1.0, policy.model.device)
        media = encode_media(policy.model, shown)
        sampled = sample(policy.model, shown, media, [1] * len(shown), config, sampler=sampler)
        for prompt, [ids] in zip(batch, sampled, strict=True):
            text = policy.processor.tokenizer.decode(ids, skip_special_tokens=True)
            score = accuracy(prompt.record.problem_type, text, prompt.record.solution, policy.variant).value
            results.append(Result(score > RIGHT_ABOVE, answer_of(text) or "", is_well_formed(text), score, text))
    return results


def _view(policy: Policy, prompt: Any, view: Perturbation | None) -> View:
    views = open_views(
        prompt,
        0,
        clips=policy.clips,
        processor=policy.processor,
        perturbations=() if view is None else (view,),
        seed=0,
        on_skip=_refuse,
    )
    assert views is not None
    return views.perturbed[0] if view is not None and views.perturbed else views.ordered


def _share(values: Iterable[bool]) -> float:
    flags = list(values)
    return sum(flags) / len(flags) if flags else float("nan")


def _refuse(record: Any, reason: str) -> None:
    raise RuntimeError(f"{record.path}: {reason}")
