"""What a start can do before RL, and whether RL has anything to move in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from measure.contest.evaluate import BATCH
from measure.contest.methods import GROUP
from measure.contest.starts import Start, folder_of
from measure.contest.table import MEASURES
from measure.contest.training import VALIDATION_SEED, Size, learning, policy_of, scores_before, tests_of
from tasks.core.engine.sampler import RowSampler, end_tokens, generation_settings
from tasks.core.io.seeds import derive_seed
from tasks.core.models.load import load_model, load_processor
from tasks.core.rewards import accuracy, format_reward
from tasks.core.train.clips import ClipStore, open_store
from tasks.core.train.features import encode_media
from tasks.core.train.rows import EncodedPrompt
from tasks.grpo.data import Prompt, open_views, render
from tasks.grpo.rollout import sample
from tasks.params import Params

GROUPS = 32
"""Direction questions that are sampled."""
START_MEASURES = (*MEASURES, "mixed_groups", "all_wrong_groups", "well_formed")
"""Scores of a start: those of runs.csv, and of its groups of completions on the biased RL split."""


def score_start(start: Start, size: Size, params: Params) -> dict[str, float]:
    """All measures of a start on validation scenes, and what its groups are like on direction questions of RL."""
    folder, workers = folder_of(start), params.ingest.workers
    processor, model = load_processor(folder), load_model(folder, "float32", "cpu").eval()
    asked, mixed = tests_of(size, VALIDATION_SEED, workers)
    directions = [row for row in learning(start, size, 0, workers) if row.skill == "direction"][:GROUPS]
    prompts = render(directions, processor, **params.prompt.model_dump())
    grpo = params.grpo
    with open_store(params.video.opening(), grpo.frame_cache_gb, params.video.decode_workers) as clips:
        policy = policy_of(model, processor, clips, params)
        scores = scores_before(start, size, VALIDATION_SEED, policy, asked, mixed)
        shown = [_shown(prompt, clips, processor) for prompt in prompts]
    variant = grpo.reward_variant
    texts = _sampled(model, processor, shown, start.seed, grpo.sampling.max_tokens)
    right = [
        [accuracy(row.problem_type, text, row.solution, variant).value for text in group]
        for row, group in zip(directions, texts, strict=True)
    ]
    return scores | group_shares(right, [format_reward(text, variant) for group in texts for text in group])


def _shown(prompt: Prompt, clips: ClipStore, processor: Any) -> EncodedPrompt:
    views = open_views(prompt, 0, clips=clips, processor=processor, perturbations=(), seed=0, on_skip=_refuse)
    assert views is not None
    return views.ordered.encoded


def _sampled(model: Any, processor: Any, shown: Sequence[EncodedPrompt], seed: int, length: int) -> list[list[str]]:
    """Texts of GROUP completions of each prompt, at temperature 1."""
    config = generation_settings(processor, end_tokens(model, processor), length)
    per_batch, texts = max(1, BATCH // GROUP), []
    for first in range(0, len(shown), per_batch):
        part = shown[first : first + per_batch]
        seeds = [derive_seed(seed, "groups", first + row, copy) for row in range(len(part)) for copy in range(GROUP)]
        sampler = RowSampler(seeds, length, 1.0, 1.0, model.device)
        with torch.no_grad():
            groups = sample(model, part, encode_media(model, part), [GROUP] * len(part), config, sampler=sampler)
        texts += [[processor.tokenizer.decode(ids, skip_special_tokens=True) for ids in group] for group in groups]
    return texts


def group_shares(right: Sequence[Sequence[float]], well_formed: Sequence[float]) -> dict[str, float]:
    """Shares of groups with right and wrong completions and of those all wrong, and of completions well formed."""
    return {
        "mixed_groups": sum(min(group) < max(group) for group in right) / len(right),
        "all_wrong_groups": sum(max(group) == 0 for group in right) / len(right),
        "well_formed": sum(value > 0 for value in well_formed) / len(well_formed),
    }


def _refuse(record: object, reason: str) -> None:
    raise RuntimeError(f"{record}: {reason}")
