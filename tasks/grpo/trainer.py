"""TRL's GRPOTrainer with video, an ordered/shuffled contrast and rollouts from shared vision features.

Three overrides of TRL 1.16; its losses, reference model, metrics, checkpoints and logging are used as they are:

    _generate_and_score_completions     rollouts, rewards and advantages of a step; shuffled answers end here
    _compute_loss                       leaves out rows without gradient, then TRL's own
    _get_per_token_logps_and_entropies  adds pixels or vision features to TRL's fused forward, packs rows

No pixel tensor enters TRL's buffer, which is permuted and split by rows: rows carry the key of their view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation

from tasks.core.io.seeds import derive_seed
from tasks.core.models.positions import use_published_positions
from tasks.core.train.clips import ClipStore
from tasks.core.train.resume import ResumesWeights
from tasks.core.train.rows import IMAGE, VIDEO, EncodedPrompt, grids, pixels
from tasks.core.train.shared_prefix import Scores, packed_rows, runs, score_answers, use_shared_prefix
from tasks.grpo.batch import (
    Answered,
    Group,
    averaged,
    encoded_views,
    normaliser_share,
    rows_with_gradient,
    step_metrics,
    step_rollouts,
    take,
    totals,
    training_rows,
)
from tasks.grpo.data import OnSkip, Prompt, Shuffling, open_views
from tasks.grpo.log import RolloutLog
from tasks.grpo.rollout import Answer, encode_media, encoder_outputs, sample
from tasks.grpo.scoring import advantages, score_group
from tasks.params import Grpo


class VideoGRPOTrainer(ResumesWeights, GRPOTrainer):
    """GRPO on images and videos with a temporal contrast (`temporal.py`).

    Groups are whole on each process: a local generation batch is `prompts_per_step * group` rows.
    """

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
            callbacks: trainer callbacks.
        """
        super().__init__(
            model=model,
            reward_funcs=[scored_by_group],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": [prompts[i].text for i in order], "index": list(order)}),
            processing_class=processor,
            callbacks=list(callbacks),
        )
        for owned in (self.model, self.ref_model):
            if owned is not None:
                use_shared_prefix(use_published_positions(self.accelerator.unwrap_model(owned)))
        self._prompts, self._clips, self._settings = prompts, clips, settings
        self._rollout_log, self._on_skip = log, on_skip
        temporal = settings.temporal
        self._shuffling = Shuffling(args.seed, temporal.shuffle_unit) if temporal.enabled else None
        self._encoded: dict[str, EncodedPrompt] = {}
        self._row_keys: list[str] = []
        self._media_tokens = {IMAGE: model.config.image_token_id, VIDEO: model.config.video_token_id}

    # One step's rollouts.

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of TRL's generation batch (each prompt `group` times) to the dict that its buffer slices."""
        step = self.state.global_step + 1
        prompts = [self._prompts[row["index"]] for row in inputs[:: self.num_generations]]
        groups = self._roll_out(prompts, step)
        rewards, after = totals(groups, self.num_generations)
        everyones = self.accelerator.gather(rewards.to(self.accelerator.device)).cpu()
        values = advantages(rewards, self.scale_rewards, everyones) + after
        self._report(groups, values, step)
        self._encoded = encoded_views(groups, self._tokenizer.eos_token_id)
        rows, keys = training_rows(groups, values, self._encoded, self._tokenizer.pad_token_id)
        batch: dict[str, Any] = {name: value.to(self.accelerator.device) for name, value in rows.items()}
        batch["num_items_in_batch"] = self.accelerator.gather(batch["completion_mask"].sum()).sum()
        batch["view"] = keys
        if self.beta != 0.0:
            batch["ref_per_token_logps"] = self._reference(batch)
        return batch

    def _roll_out(self, prompts: Sequence[Prompt], step: int) -> list[Group]:
        """Open every prompt's views, answer them all in one batch, score by prompt."""
        opened = [
            open_views(
                prompt,
                step,
                clips=self._clips,
                processor=self.processing_class,
                shuffling=self._shuffling,
                on_skip=self._on_skip,
            )
            for prompt in prompts
        ]
        shown = [view for views in opened if views for view in views if view is not None]
        copies = [self._settings.temporal.shuffled if view.shuffled else self.num_generations for view in shown]
        answers = iter(self._sample([view.encoded for view in shown], copies, step) if shown else [])
        groups: list[Group] = []
        for prompt, views in zip(prompts, opened, strict=True):
            if views is None:
                groups.append(None)
                continue
            ordered = next(answers)
            shuffled = next(answers) if views.shuffled else []
            score = score_group(prompt.record, ordered, shuffled, self._settings)
            groups.append(Answered(prompt, views, ordered, shuffled, score))
        return groups

    def _sample(self, prompts: Sequence[EncodedPrompt], copies: Sequence[int], step: int) -> list[list[Answer]]:
        """Answers to every view, from a random stream of this step and process alone."""
        seed = derive_seed(self.args.seed, "rollout", step, self.accelerator.process_index)
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
            torch.random.fork_rng(devices),
            self.accelerator.autocast(),
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            torch.manual_seed(seed)
            features = encode_media(model, prompts)
            sampled = sample(model, prompts, features, copies, self.generation_config, self._settings.share_prefix)
        return [[self._answer(ids) for ids in group] for group in sampled]

    def _answer(self, ids: list[int]) -> Answer:
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        return Answer(ids, text, truncated=ids[-1] not in self.eos_token_ids)

    def _report(self, groups: Sequence[Group], values: torch.Tensor, step: int) -> None:
        """Metrics over the prompts of all processes; rollouts to the log."""
        for name, value in averaged(gather_object(step_metrics(groups))).items():
            self._metrics["train"][name].append(value)
        rollouts = gather_object(list(step_rollouts(groups, values, step)))
        if self.accelerator.is_main_process:
            self._rollout_log.write(step, rollouts)

    @torch.no_grad()
    def _reference(self, batch: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities (B, C) of the answers under the reference model."""
        with self._rows(batch["view"]):
            logps, _, _ = self._get_per_token_logps_and_entropies(
                self.ref_model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                batch["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
            )
        return logps

    # Forward and loss.

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's loss over the rows that have a gradient, scaled to what it is over all valid rows."""
        skip_zero = self.beta == 0.0 and self._settings.skip_zero_advantage
        kept = rows_with_gradient(inputs["valid"], inputs["advantages"], skip_zero)
        share = normaliser_share(self.loss_type, kept, inputs["valid"], inputs["completion_mask"])
        with self._rows([inputs["view"][row] for row in kept.tolist()]):
            loss = super()._compute_loss(model, {name: take(value, kept) for name, value in inputs.items()})
        return loss * share

    @contextmanager
    def _rows(self, keys: list[str]) -> Iterator[None]:
        """Say whose rows the next forward is about."""
        self._row_keys = keys
        try:
            yield
        finally:
            self._row_keys = []

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **media: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Log-probabilities and entropies (B, logits_to_keep) of the answers, pixels of `_rows` included.

        `media` takes TRL's image arguments, which are all None here.
        """
        size = batch_size or len(input_ids)
        logps, entropies = [], []
        for start in range(0, len(input_ids), size):
            rows = slice(start, start + size)
            ids, mask = input_ids[rows], attention_mask[rows]
            if self._settings.share_prefix_update:
                scores = self._shared(model, self._row_keys[rows], ids[:, -logits_to_keep:], mask[:, -logits_to_keep:])
                logps.append(scores.log_probs)
                if compute_entropy:
                    entropies.append(scores.entropy)
                continue
            labels = ids.masked_fill(mask == 0, -100)
            labels[:, :-logits_to_keep] = -100
            with self.accelerator.autocast():
                outputs = model(
                    input_ids=ids,
                    attention_mask=mask,
                    mm_token_type_ids=sum(kind * (ids == token) for kind, token in self._media_tokens.items()),
                    **self._media(model, self._row_keys[rows]),
                    labels=labels,
                    fused_lm_head=True,
                )
            logps.append(outputs.log_probs[:, -logits_to_keep:])
            if compute_entropy:
                entropies.append(outputs.entropy[:, -logits_to_keep:])
        return torch.cat(logps), torch.cat(entropies) if compute_entropy else None, None

    def _shared(self, model: Any, keys: Sequence[str], answers: torch.Tensor, mask: torch.Tensor) -> Scores:
        """Scores (B, C) of answers, each prompt read once for all its rows."""
        prompts, counts = runs(keys)
        used = [keys[row] for row in prompts]
        inner = self.accelerator.unwrap_model(model)
        packed = packed_rows(inner, [self._encoded[key] for key in used], counts, answers, mask)
        with self.accelerator.autocast():
            return score_answers(model, packed, self._media(model, used))

    def _media(self, model: Any, keys: Sequence[str]) -> dict[str, Any]:
        """Media arguments of a forward over rows of these views."""
        rows = [self._encoded[key] for key in keys]
        device = self.accelerator.device
        placed = {name: value.to(device) for name, value in grids(rows).items()}
        if not self._settings.encode_once:
            return placed | {name: value.to(device) for name, value in pixels(rows).items()}
        unique = list(dict.fromkeys(keys))
        features = encode_media(self.accelerator.unwrap_model(model), [self._encoded[key] for key in unique])
        by_key = dict(zip(unique, features, strict=True))
        return placed | {"mm_encoder_outputs": encoder_outputs(rows, [by_key[key] for key in keys])}


def scored_by_group(**_: Any) -> list[float]:
    """Stand in for the reward function that TRL's constructor asks for; answers are scored by `score_group`."""
    raise NotImplementedError("answers are scored by group, not one by one")
