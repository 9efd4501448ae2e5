"""One step's groups: views opened, completions sampled, compared and scored, prompts without signal replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from accelerate.utils import gather_object

from tasks.core.io.seeds import derive_seed
from tasks.core.models.protocols import Processor
from tasks.core.train.clips import ClipStore
from tasks.core.train.rows import EncodedPrompt
from tasks.grpo.batch import LOST, comparisons, padded_rows, rollout_scores, scored_rows
from tasks.grpo.data import OnSkip, Prompt, View, Views, open_views, substitute
from tasks.grpo.engines import RolloutRequest
from tasks.grpo.forwards import Rows
from tasks.grpo.groups import Group, LocalPart, Part, PartResult, assemble, result_of, slots_without_signal
from tasks.grpo.rollout import Completion
from tasks.grpo.scoring import Comparison, GroupScore, Rewards, score_group


class Step(NamedTuple):
    """The groups of one step."""

    local: list[LocalPart]
    """This process's parts, in row order."""
    groups: dict[int, Group | None]
    """By slot, ascending; None: a process left the prompt out."""
    replaced: list[Group]
    """Groups without signal in whose place another prompt was sampled."""


class Collector:
    """Collects the groups of a step. All processes call it together and get the same groups."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        clips: ClipStore,
        processor: Processor,
        rewards: Rewards,
        *,
        complete: Callable[[Sequence[RolloutRequest]], list[list[Completion]]],
        score_rows: Callable[[Rows], torch.Tensor],
        refill: int,
        seed: int,
        idle: EncodedPrompt | None,
        pad: int,
        on_skip: OnSkip,
    ) -> None:
        """Set up.

        Args:
            prompts: all prompts of the run.
            clips: decoded frames.
            processor: of the policy.
            rewards: how completions are rewarded.
            complete: samples completions from the present policy.
            score_rows: log-probabilities (B, C) of rows under the present policy, without gradient.
            refill: how often a prompt without signal is replaced within its step.
            seed: of the run.
            idle: prompt that a process reads when it has none of its own and others have; None where weights are not
                sharded.
            pad: padding token.
            on_skip: told of prompts left out.
        """
        self._prompts, self._clips, self._processor, self._rewards = prompts, clips, processor, rewards
        self._complete, self._score_rows, self._refill, self._seed = complete, score_rows, refill, seed
        self._idle, self._pad, self._on_skip = idle, pad, on_skip
        self._asks = rewards.objective.asks()

    def collect(self, parts: Sequence[Part], step: int) -> Step:
        """Groups of a step (1-based) from this process's parts of them."""
        local_parts, results = self._attempt(parts, step)
        groups = self._assembled(results, step)
        local = {each.part.slot: each for each in local_parts}
        replaced: list[Group] = []
        tried = {result.part.prompt for result in results}
        for attempt in range(1, self._refill + 1):
            substitutes: dict[int, int] = {}
            for slot in slots_without_signal(groups):
                index = substitute(len(self._prompts), tried, self._seed, step, slot, attempt)
                if index is not None:
                    substitutes[slot] = index
                    tried.add(index)
            if not substitutes:
                break
            retried = [p._replace(prompt=substitutes[p.slot], attempt=attempt) for p in parts if p.slot in substitutes]
            local_parts, results = self._attempt(retried, step)
            for slot, group in self._assembled(results, step).items():
                if group is None:
                    continue  # The prompt before it may at least be logged.
                if (before := groups[slot]) is not None:
                    replaced.append(before)
                groups[slot] = group
                local |= {each.part.slot: each for each in local_parts if each.part.slot == slot}
        return Step([local[part.slot] for part in parts], groups, replaced)

    def _attempt(self, parts: Sequence[Part], step: int) -> tuple[list[LocalPart], list[PartResult]]:
        """Open the views of this process's parts and complete them in one batch.

        Returns this process's parts, and the results of all processes.
        """
        opened = [self._open(part, step) for part in parts]
        requests = [
            RolloutRequest(prompt.text, prompt.record.data_type, view, self._seeds(part, view, copies, step))
            for part, views in zip(parts, opened, strict=True)
            for prompt in (self._prompts[part.prompt],)
            for view, copies in _shown(part, views)
        ]
        # Whoever has something to ask, all processes call: sharded weights, or a server, are for all of them together.
        completed = iter(self._complete(requests))
        local, perturbed = [], []
        for part, views in zip(parts, opened, strict=True):
            sampled = [next(completed) for _ in _shown(part, views)]
            local.append(LocalPart(part, views, sampled[0] if sampled else []))
            perturbed.append(sampled[1] if len(sampled) > 1 else [])
        compared = self._compare(local)
        local = [each._replace(comparison=comparison) for each, comparison in zip(local, compared, strict=True)]
        return local, gather_object([result_of(*pair) for pair in zip(local, perturbed, strict=True)])

    def _open(self, part: Part, step: int) -> Views | None:
        return open_views(
            self._prompts[part.prompt],
            step,
            clips=self._clips,
            processor=self._processor,
            perturbations=self._asks.perturbations,
            seed=self._seed,
            on_skip=self._on_skip,
        )

    def _seeds(self, part: Part, view: View, copies: range, step: int) -> list[int]:
        """One seed per completion; it depends on the slot and the step, not on the batch or the number of processes."""
        side = "perturbed" if view.perturbed else "ordered"
        return [derive_seed(self._seed, "rollout", step, part.slot, part.attempt, side, copy) for copy in copies]

    def _compare(self, local: Sequence[LocalPart]) -> list[Comparison | None]:
        """Log-probabilities of completions under every view.

        None for a part with one view only, and for all parts where the objective does not ask for them.
        """
        compared = [each for each in local if each.views and each.views.perturbed]
        if not self._asks.scored:
            return [None] * len(local)
        if not compared:
            if self._idle is not None:
                self._score_rows(padded_rows([LOST], [self._idle], [Completion([self._pad] * 2, "", False)], self._pad))
            return [None] * len(local)
        count = sum(len(each.completions) for each in compared)
        ordered = rollout_scores(compared)
        sides = list(self._score_rows(scored_rows(compared, self._pad, ordered is None)).split(count))
        if ordered is not None:
            sides.insert(0, ordered.to(sides[0]))
        by_part = iter(comparisons(sides, [[len(c.ids) for c in each.completions] for each in compared]))
        return [next(by_part) if each.views and each.views.perturbed else None for each in local]

    def _assembled(self, results: Sequence[PartResult], step: int) -> dict[int, Group | None]:
        def score(
            slot: int,
            prompt: Prompt,
            completions: list[Completion],
            perturbed: list[Completion],
            comparison: Comparison | None,
        ) -> GroupScore:
            seed = derive_seed(self._seed, "objective", step, slot)
            return score_group(prompt.record, completions, perturbed, self._rewards, comparison, seed)

        return assemble(results, self._prompts, score)


def _shown(part: Part, views: Views | None) -> list[tuple[View, range]]:
    """Views of a part to sample from, and which completions of the group are sampled from each."""
    if views is None:
        return []
    return [(views.ordered, part.ordered), *((view, part.perturbed) for view in views.perturbed[:1] if part.perturbed)]
