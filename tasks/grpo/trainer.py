"""TRL's GRPOTrainer with video, a choice of objectives and rollouts from shared vision features.

Overrides of TRL 1.16; its losses, reference model, metrics, checkpoints and logging are used as they are:

    _generate_and_score_completions     rollouts, rewards and advantages of a step (`collect.py`)
    _prepare_inputs                     rows of a prompt stay in one micro-batch where they fit
    _compute_loss                       forward over the rows that have a gradient (`forwards.py`), then TRL's own loss
    _get_per_token_logps_and_entropies  hands TRL's loss what that forward gave
    _load_from_checkpoint               restores weights under their published names (`core/train/resume.py`)
    _save_checkpoint                    names the checkpoint when the disk is full (there too)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig
from trl.models import unwrap_model_for_generation

from tasks.core.models.protocols import Model, Processor
from tasks.core.train.clips import ClipStore
from tasks.core.train.guards import FiniteSteps
from tasks.core.train.resume import ResumesWeights
from tasks.core.train.rows import text_only
from tasks.core.train.sharding import ShardedNumbers, is_sharded, loads_once, sharded_reference
from tasks.core.train.shared_prefix import Scores
from tasks.grpo.batch import (
    halves,
    importance_weights,
    normaliser_share,
    rows_of,
    rows_of_both_views,
    rows_with_gradient,
    take,
    totals,
    training_batch,
    view_divergence,
    whole_prompts,
)
from tasks.grpo.collect import Collector, Step
from tasks.grpo.data import OnSkip, Prompt, black_picture, drawn
from tasks.grpo.engines import Policy, RolloutRequest, Rollouts
from tasks.grpo.forwards import POLICY, Forwards, Rows, without_adapter_wrapper
from tasks.grpo.groups import Group, own_parts
from tasks.grpo.log import RolloutLog, step_metrics, step_rollouts
from tasks.grpo.options import Options
from tasks.grpo.rollout import Completion
from tasks.grpo.scoring import advantages
from tasks.grpo.tokens import token_metrics, token_sums
from tasks.grpo.trl_trainer import GRPOTrainer


class VideoGRPOTrainer(ShardedNumbers, FiniteSteps, ResumesWeights, GRPOTrainer):
    """GRPO on images and videos by any objective (`objectives/`), its groups over processes (`groups.py`)."""

    stage = "grpo"
    ref_model: Any
    _buffered_inputs: Any

    def __init__(
        self,
        *,
        model: Model,
        processor: Processor,
        prompts: Sequence[Prompt],
        order: Sequence[int],
        clips: ClipStore,
        options: Options,
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
            options: see `Options`.
            args: TRL's settings.
            log: takes the rollouts of every step.
            on_skip: told of prompts left out.
            rollouts: makes the engine of rollouts from the processor and the tokens that end a completion.
            peft_config: adapter to train in place of the weights.
            callbacks: trainer callbacks.
        """
        beta = args.beta
        if loads_once():  # TRL would load a reference model of its own (see `sharded_reference`)
            args.beta = 0.0
        super().__init__(
            model=model,
            reward_funcs=[scored_by_group],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": [prompts[i].text for i in order], "index": list(order)}),
            processing_class=processor,
            peft_config=peft_config,
            callbacks=list(callbacks),
        )
        self.beta = args.beta = beta
        if self.is_fsdp_enabled and beta and peft_config is None:
            self.ref_model = sharded_reference(self.model, self.accelerator)
        self.options, self._prompts, self._order, self._clips, self._log = options, prompts, order, clips, log
        self._sharded, self._pad = is_sharded(self.accelerator), self._tokenizer.pad_token_id
        idle = black_picture(processor) if self._sharded else None
        # Where weights are sharded a lost row, too, passes through the vision encoder.
        self._lost = idle or text_only(self._tokenizer.eos_token_id)
        asks = options.rewards.objective.asks()
        self._asks = asks
        unwrapped = self.accelerator.unwrap_model
        self.forwards = Forwards(
            self.accelerator,
            without_adapter_wrapper(unwrapped(self.model)),
            None if self.ref_model is None else without_adapter_wrapper(unwrapped(self.ref_model)),
            options.levers,
            keeps_features=(self.beta != 0.0 or asks.scored) and not options.dropout,
            idle=idle,
            pad=self._pad,
        )
        self._rollouts = rollouts(processor, self.eos_token_ids)
        self._collector = Collector(
            prompts,
            clips,
            processor,
            options.rewards,
            complete=self._complete,
            score_rows=self._scored,
            refill=options.refill,
            seed=args.seed,
            idle=idle,
            pad=self._pad,
            on_skip=on_skip,
        )

    def close_rollouts(self) -> None:
        """Free the rollout engine."""
        self._rollouts.close()

    # One step's rollouts.

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of TRL's generation batch (each prompt `group` times) to the dict that its buffer slices."""
        step = self.state.global_step + 1
        indices = [row["index"] for row in inputs]
        first = self.accelerator.process_index * len(indices)
        self._expect(first, len(indices), step)
        parts = own_parts(indices, first, self.num_generations, self._asks.completions)
        collected = self._collector.collect(parts, step)
        self._refuse_infinite([*collected.groups.values(), *collected.replaced])
        rewards, terms = totals(list(collected.groups.values()), self.num_generations)
        values = (advantages(rewards, self.scale_rewards) + terms).tolist()
        by_slot = dict(zip(collected.groups, values, strict=True))
        self._report(collected, by_slot, step)
        contrast = self._asks.contrast is not None
        batch = training_batch(collected.local, collected.groups, by_slot, self._lost, self._pad, contrast)
        batch = {n: v.to(self.accelerator.device) if torch.is_tensor(v) else v for n, v in batch.items()}
        batch["num_items_in_batch"] = self.accelerator.gather(batch["completion_mask"].sum()).sum()
        if self.beta != 0.0:
            batch["ref_per_token_logps"] = self._reference(rows_of(batch))
        self.forwards.drop_stale_features()
        return batch

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """TRL's; of several micro-batches a step each gets whole prompts, for a prompt is read once in each."""
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is not before and len(self._buffered_inputs) > 1:
            self._buffered_inputs = whole_prompts(self._buffered_inputs)
            inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return inputs

    def _refuse_infinite(self, groups: Sequence[Group | None]) -> None:
        """Advantages take a reward of NaN for that of a lost prompt: unnoticed, it would cost its group."""
        for group in groups:
            if group is not None and not group.score.finite:
                raise self.diverged(f"a reward of problem_id {group.prompt.record.problem_id} is not finite")

    def _expect(self, first: int, rows: int, step: int) -> None:
        """Let the clips of this step and the next be decoded ahead."""
        processes = self.accelerator.num_processes
        near = [drawn(self._order, at, first, rows, self.num_generations, processes) for at in (step, step + 1)]
        records = [self._prompts[index].record for indices in near for index in indices]
        self._clips.expect((record.path, record.data_type) for record in records)

    def _complete(self, requests: Sequence[RolloutRequest]) -> list[list[Completion]]:
        with self._policy() as policy:
            return self._rollouts.complete(policy, self.forwards.features, requests)

    @contextmanager
    def _policy(self) -> Iterator[Policy]:
        """The policy as a rollout engine takes it."""
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as unwrapped,
            torch.no_grad(),
        ):
            model = without_adapter_wrapper(unwrapped)
            yield Policy(model, self.state.global_step, self._sharded, self.accelerator.autocast)

    def _scored(self, rows: Rows) -> torch.Tensor:
        """Log-probabilities (B, C) under the policy, without gradient."""
        rows = rows.to(self.accelerator.device)
        return self.forwards.scored(self.model, rows, self.args.per_device_train_batch_size)

    def _reference(self, rows: Rows) -> torch.Tensor:
        """Log-probabilities (B, C) under the reference model: with an adapter, the policy without it."""
        size, weights = self.args.per_device_train_batch_size, self.forwards.reference_weights
        if self.ref_model is not None:
            return self.forwards.scored(self.ref_model, rows, size, weights)
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            return self.forwards.scored(self.model, rows, size, weights)

    def _report(self, collected: Step, values: Mapping[int, list[float]], step: int) -> None:
        """Metrics of all processes' prompts; rollouts to the log."""
        groups = list(collected.groups.values())
        for name, value in step_metrics(groups, len(collected.replaced)).items():
            self._metrics["train"][name].append(value)
        if self.accelerator.is_main_process:
            kept, dropped = step_rollouts(groups, values, step), step_rollouts(collected.replaced, None, step)
            self._log.write(step, [*kept, *dropped])

    # Loss.

    def _compute_loss(self, model: Model, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's loss over the rows that have a gradient, scaled to what it is over all valid rows."""
        contrast = self._asks.contrast
        skip_zero = self.beta == 0.0 and self.options.skip_zero_advantage and contrast is None
        valid, values, mask = inputs["valid"], inputs["advantages"], inputs["completion_mask"]
        gradients = len(rows_with_gradient(valid, values, skip_zero))
        compared = inputs["contrasted"].sum() if contrast else 0
        counts = torch.tensor([gradients, valid.sum(), mask.sum(), compared])
        everyones = self.accelerator.gather(counts.float().to(mask.device)[None])
        kept = rows_with_gradient(valid, values, skip_zero, int(everyones[:, 0].max()))
        _, rows_mean, tokens_mean, compared_mean = everyones.mean(dim=0).tolist()
        batch = {name: take(value, kept) for name, value in inputs.items()}
        rows = rows_of_both_views(batch) if contrast else rows_of(batch)
        scores = self.forwards.log_probs(model, rows, entropy=True, weights=POLICY)
        if contrast:
            scores, others = halves(scores)
        self._report_tokens(batch, scores)
        if self.options.importance_cap is not None and "rollout_log_probs" in batch:
            own = batch["advantages"] if batch["advantages"].ndim > 1 else batch["advantages"].unsqueeze(1)
            weights = importance_weights(batch["rollout_log_probs"], scores.log_probs, self.options.importance_cap)
            batch["advantages"] = own * weights
        # TRL passes its image arguments on to `_get_per_token_logps_and_entropies` untouched.
        loss = super()._compute_loss(model, batch | {"pixel_values": scores})
        loss = loss * normaliser_share(self.loss_type, kept, rows_mean, tokens_mean, mask)
        if contrast is None:
            return loss
        each = view_divergence(scores.log_probs, others.log_probs, batch["completion_mask"], contrast.most)
        divergence = (each * batch["contrasted"]).sum() / max(compared_mean, 1.0)
        self._metrics["train"]["view_divergence"].append(self.accelerator.reduce(divergence.detach(), "mean").item())
        return loss - contrast.gamma * divergence / self.current_gradient_accumulation_steps

    def _get_per_token_logps_and_entropies(
        self,
        model: Model,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        pixel_values: Any = None,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Log-probabilities and entropies (B, C) of the forward that `_compute_loss` made: they come as `pixel_values`.

        Raises:
            TypeError: called by another than `_compute_loss`.
        """
        if not isinstance(pixel_values, Scores):
            raise TypeError("the forward is made by VideoGRPOTrainer._compute_loss")
        return pixel_values.log_probs, pixel_values.entropy, None

    def _report_tokens(self, batch: dict[str, Any], scores: Scores) -> None:
        """Entropy, KL and drift of the tokens of all processes' rows in this backward pass, by problem type."""
        sums = token_sums(batch, scores.log_probs, scores.entropy).to(self.accelerator.device)
        for name, value in token_metrics(self.accelerator.reduce(sums, reduction="sum"), self.beta != 0).items():
            self._metrics["train"][name].append(value)


def scored_by_group(**_: Any) -> list[float]:
    """Stand in for the reward function that TRL's constructor asks for; completions are scored by `score_group`."""
    raise NotImplementedError("completions are scored by group, not one by one")
