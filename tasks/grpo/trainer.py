"""TRL's GRPOTrainer with video, a temporal objective and rollouts from shared vision features.

Overrides of TRL 1.16; its losses, reference model, metrics, checkpoints and logging are used as they are:

    _generate_and_score_completions     rollouts, rewards and advantages of a step; perturbed answers end here
    _compute_loss                       leaves out rows without gradient, then TRL's own
    _get_per_token_logps_and_entropies  adds pixels or vision features to TRL's fused forward, packs rows: `forwards.py`
    _load_from_checkpoint               restores weights under their published names (`core/train/resume.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from tasks.core.io.seeds import derive_seed
from tasks.core.train.clips import ClipStore
from tasks.core.train.guards import FiniteSteps
from tasks.core.train.resume import ResumesWeights
from tasks.core.train.rows import text_only
from tasks.grpo.batch import (
    comparisons,
    encoded_views,
    normaliser_share,
    padded_answers,
    rows_with_gradient,
    take,
    token_weights,
    totals,
    training_rows,
)
from tasks.grpo.data import OnSkip, Prompt, View, black_picture, drawn, open_views, substitute
from tasks.grpo.engines import Ask, Rollouts, idle_ask, is_sharded, sharded_reference
from tasks.grpo.forwards import ViewForwards
from tasks.grpo.groups import Group, Held, Outcome, Place, assemble, outcome, places, slots_without_signal
from tasks.grpo.log import RolloutLog, step_metrics, step_rollouts
from tasks.grpo.rollout import Answer
from tasks.grpo.scoring import Comparison, GroupScore, Rewards, advantages, score_group
from tasks.grpo.tokens import token_metrics, token_sums
from tasks.params import Grpo


class VideoGRPOTrainer(FiniteSteps, ResumesWeights, ViewForwards, GRPOTrainer):
    """GRPO on images and videos by any objective (`objectives/`), its groups over processes (`groups.py`)."""

    stage = "grpo"

    def __init__(
        self,
        *,
        model: Any,
        processor: Any,
        prompts: Sequence[Prompt],
        order: Sequence[int],
        clips: ClipStore,
        settings: Grpo,
        args: GRPOConfig,
        log: RolloutLog,
        on_skip: OnSkip,
        rollouts: Callable[[Any, Sequence[int]], Rollouts],
        peft_config: Any = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        """Set up.

        Args:
            model: policy loaded from a folder; with beta > 0 the reference model is loaded from the same.
            processor: its processor.
            prompts: what `order` points into.
            order: index of the prompt of every draw of the run, all processes together.
            clips: decoded frames.
            settings: the `grpo` section.
            args: TRL's view of it (`train.arguments`).
            log: takes the rollouts of every step.
            on_skip: told of prompts left out.
            rollouts: makes the engine of rollouts from the processor and the tokens that end an answer.
            peft_config: adapter to train in place of the weights.
            callbacks: trainer callbacks.
        """
        super().__init__(
            model=model,
            reward_funcs=[scored_by_group],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": [prompts[i].text for i in order], "index": list(order)}),
            processing_class=processor,
            peft_config=peft_config,
            callbacks=list(callbacks),
        )
        if self.ref_model is not None and self.is_fsdp_enabled:
            self.ref_model = sharded_reference(self.model, self.accelerator)
        self._prepare_forwards(settings)
        self._rollouts = rollouts(processor, self.eos_token_ids)
        self._prompts, self._order, self._clips, self._rollout_log, self._on_skip = prompts, order, clips, log, on_skip
        self._asks = settings.objective.asks()
        self._rewards = rewards_of(settings)
        # Where weights are sharded every row must pass through the vision encoder, or processes wait for each other.
        self._lost = black_picture(processor) if is_sharded(self) else text_only(self._tokenizer.eos_token_id)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Restore a checkpoint's weights; one of an adapter has the names that transformers reads back."""
        if self._settings.lora.rank:
            GRPOTrainer._load_from_checkpoint(self, resume_from_checkpoint, model)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def close_rollouts(self) -> None:
        """Free the rollout engine."""
        self._rollouts.close()

    # One step's rollouts.

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of TRL's generation batch (each prompt `group` times) to the dict that its buffer slices."""
        step = self.state.global_step + 1
        rows = [row["index"] for row in inputs]
        first = self.accelerator.process_index * len(rows)
        self._expect(first, len(rows), step)
        held, groups, replaced = self._roll_out(places(rows, first, self.num_generations, self._asks.completions), step)
        rewards, terms = totals(list(groups.values()), self.num_generations)
        values = dict(zip(groups, (advantages(rewards, self.scale_rewards) + terms).tolist(), strict=True))
        self._report(groups, replaced, values, step)
        self._encoded = encoded_views(held, self._lost)
        found, keys, types = training_rows(held, groups, values, self._encoded, self._tokenizer.pad_token_id)
        if (weights := token_weights(held, groups, found["completion_mask"])) is not None:
            found["advantages"] = found["advantages"].unsqueeze(1) * weights
        batch: dict[str, Any] = {name: value.to(self.accelerator.device) for name, value in found.items()}
        batch["num_items_in_batch"] = self.accelerator.gather(batch["completion_mask"].sum()).sum()
        batch["view"], batch["problem_type"] = keys, types
        if self.beta != 0.0:
            batch["ref_per_token_logps"] = self._reference(batch)
        self._drop_stale_features()
        return batch

    def _expect(self, first: int, rows: int, step: int) -> None:
        """Let the clips of this step and the next be decoded ahead."""
        processes = self.accelerator.num_processes
        near = [drawn(self._order, at, first, rows, self.num_generations, processes) for at in (step, step + 1)]
        records = [self._prompts[index].record for indices in near for index in indices]
        self._clips.expect((record.path, record.data_type) for record in records)

    def _roll_out(self, wanted: Sequence[Place], step: int) -> tuple[list[Held], dict[int, Group], list[Group]]:
        """Answer this process's places, exchange outcomes, replace prompts that teach nothing (`refill`).

        Returns:
            What this process holds, in row order; every slot's group; groups that were replaced.
        """
        mine, outcomes = self._attempt(wanted, step)
        groups = assemble(outcomes, self._prompts, self._score)
        held = {each.place.slot: each for each in mine}
        replaced: list[Group] = []
        tried = {outcome.place.prompt for outcome in outcomes}
        for attempt in range(1, self._settings.refill + 1):
            fresh: dict[int, int] = {}
            for slot in slots_without_signal(groups):
                index = substitute(len(self._prompts), tried, self.args.seed, step, slot, attempt)
                if index is not None:
                    fresh[slot] = index
                    tried.add(index)
            if not fresh:
                break
            again = [p._replace(prompt=fresh[p.slot], attempt=attempt) for p in wanted if p.slot in fresh]
            mine, outcomes = self._attempt(again, step)
            for slot, group in assemble(outcomes, self._prompts, self._score).items():
                if group is None:
                    continue  # The prompt before it may at least be logged.
                replaced.append(groups[slot])
                groups[slot] = group
                held |= {each.place.slot: each for each in mine if each.place.slot == slot}
        return [held[place.slot] for place in wanted], groups, replaced

    def _attempt(self, wanted: Sequence[Place], step: int) -> tuple[list[Held], list[Outcome]]:
        """Open the views of this process's places and answer them in one batch; outcomes are everybody's."""
        opened = [
            open_views(
                self._prompts[place.prompt],
                step,
                clips=self._clips,
                processor=self.processing_class,
                perturbations=self._asks.perturbations,
                seed=self.args.seed,
                on_skip=self._on_skip,
            )
            for place in wanted
        ]
        asks: list[Ask] = []
        for place, views in zip(wanted, opened, strict=True):
            prompt = self._prompts[place.prompt]
            shown = [views.ordered, *views.perturbed[:1]] if views else []
            for view, copies in zip(shown, (place.ordered, place.perturbed), strict=False):
                if copies:
                    asks.append(Ask(prompt.text, prompt.record.data_type, view, self._seeds(place, view, copies, step)))
        if not asks and is_sharded(self):
            self._rollouts.answer(self, [idle_ask(self._lost)])  # The others need this process's part of the weights.
        answers = iter(self._rollouts.answer(self, asks) if asks else [])
        held, perturbed = [], []
        for place, views in zip(wanted, opened, strict=True):
            held.append(Held(place, views, next(answers) if views else []))
            perturbed.append(next(answers) if views and views.perturbed and place.perturbed else [])
        held = [each._replace(comparison=found) for each, found in zip(held, self._compare(held), strict=True)]
        return held, gather_object([outcome(*parts) for parts in zip(held, perturbed, strict=True)])

    def _seeds(self, place: Place, view: View, copies: range, step: int) -> list[int]:
        """One per answer, from its place in the run alone: neither the batch nor the number of processes matters."""
        side = "perturbed" if view.perturbed else "ordered"
        seed = self.args.seed
        return [derive_seed(seed, "rollout", step, place.slot, place.attempt, side, copy) for copy in copies]

    def _score(
        self, slot: int, prompt: Prompt, answers: list[Answer], perturbed: list[Answer], comparison: Comparison | None
    ) -> GroupScore:
        seed = derive_seed(self.args.seed, "objective", self.state.global_step + 1, slot)
        return score_group(prompt.record, answers, perturbed, self._rewards, comparison, seed)

    def _compare(self, held: Sequence[Held]) -> list[Comparison | None]:
        """Log-probabilities of the ordered answers under every view; None where there is one, or it was not asked."""
        compared = [each for each in held if each.views and each.views.perturbed]
        if not self._asks.scored or not compared:
            return [None] * len(held)
        answers = [answer for each in compared for answer in each.answers]
        sides = zip(*((each.views.ordered, *each.views.perturbed) for each in compared if each.views), strict=True)
        copies = [len(each.answers) for each in compared]
        keys = [view.key for side in sides for view, count in zip(side, copies, strict=True) for _ in range(count)]
        self._encoded = encoded_views(compared, self._lost)
        rows = padded_answers(keys, answers * (len(keys) // len(answers)), self._encoded, self._tokenizer.pad_token_id)
        rows = {name: value.to(self.accelerator.device) for name, value in rows.items()}
        sides = self._logps(self.model, rows, keys).split(len(answers))
        found = iter(comparisons(sides, [[len(answer.ids) for answer in each.answers] for each in compared]))
        return [next(found) if each.views and each.views.perturbed else None for each in held]

    def _report(
        self, groups: dict[int, Group], replaced: Sequence[Group], values: dict[int, list[float]], step: int
    ) -> None:
        """Metrics of all processes' prompts; rollouts to the log."""
        for name, value in step_metrics(list(groups.values()), len(replaced)).items():
            self._metrics["train"][name].append(value)
        if self.accelerator.is_main_process:
            kept, dropped = step_rollouts(groups.values(), values, step), step_rollouts(replaced, None, step)
            self._rollout_log.write(step, [*kept, *dropped])

    # Forward and loss.

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's loss over the rows that have a gradient, scaled to what it is over all valid rows."""
        skip_zero = self.beta == 0.0 and self._settings.skip_zero_advantage
        valid, advantages, mask = inputs["valid"], inputs["advantages"], inputs["completion_mask"]
        counts = torch.tensor([len(rows_with_gradient(valid, advantages, skip_zero)), valid.sum(), mask.sum()])
        everyones = self.accelerator.gather(counts.float().to(mask.device)[None])
        kept = rows_with_gradient(valid, advantages, skip_zero, int(everyones[:, 0].max()))
        _, rows_mean, tokens_mean = everyones.mean(dim=0).tolist()
        share = normaliser_share(self.loss_type, kept, rows_mean, tokens_mean, mask)
        rows = {name: take(value, kept) for name, value in inputs.items()}
        with self._rows(rows["view"]):
            loss = super()._compute_loss(model, rows)
        self._report_tokens(rows)
        return loss * share

    def _report_tokens(self, rows: dict[str, Any]) -> None:
        """Entropy, KL and drift of the tokens of all processes' rows in this backward pass, by problem type."""
        sums = token_sums(rows, *self._seen).to(self.accelerator.device)
        for name, value in token_metrics(self.accelerator.reduce(sums, reduction="sum"), self.beta != 0).items():
            self._metrics["train"][name].append(value)


def scored_by_group(**_: Any) -> list[float]:
    """Stand in for the reward function that TRL's constructor asks for; answers are scored by `score_group`."""
    raise NotImplementedError("answers are scored by group, not one by one")


def rewards_of(settings: Grpo) -> Rewards:
    """What of the `grpo` section decides what completions are paid."""
    length = settings.length.model_dump() if settings.length else None
    return Rewards(settings.objective, settings.reward_variant, settings.format_weight, length)
