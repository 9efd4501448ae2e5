"""TRL's GRPOTrainer with video, an ordered/shuffled contrast and rollouts from shared vision features.

Overrides of TRL 1.16; its losses, reference model, metrics, checkpoints and logging are used as they are:

    _generate_and_score_completions     rollouts, rewards and advantages of a step; shuffled answers end here
    _compute_loss                       leaves out rows without gradient, then TRL's own
    _get_per_token_logps_and_entropies  adds pixels or vision features to TRL's fused forward, packs rows
    _load_from_checkpoint               restores weights under their published names (`core/train/resume.py`)

No pixel tensor enters TRL's buffer, which is permuted and split by rows: rows carry the key of their view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from tasks.core.io.seeds import derive_seed
from tasks.core.models.positions import use_published_positions
from tasks.core.train.clips import ClipStore
from tasks.core.train.features import FeatureStore, encode_media, encoder_outputs, trains
from tasks.core.train.recompute import use_selective_checkpointing
from tasks.core.train.resume import ResumesWeights
from tasks.core.train.rows import IMAGE, VIDEO, EncodedPrompt, grids, pixels, text_only
from tasks.core.train.shared_prefix import Scores, by_prompt, in_order, packed_rows, score_answers, use_shared_prefix
from tasks.grpo.batch import (
    answer_weights,
    encoded_views,
    normaliser_share,
    padded_answers,
    rows_with_gradient,
    take,
    totals,
    training_rows,
)
from tasks.grpo.data import OnSkip, Prompt, Shuffling, View, black_picture, drawn, open_views, substitute
from tasks.grpo.engines import Ask, Rollouts, idle_ask, is_sharded, sharded_reference, without_adapter_wrapper
from tasks.grpo.groups import Group, Held, Outcome, Place, assemble, barren, outcome, places
from tasks.grpo.log import RolloutLog, step_metrics, step_rollouts
from tasks.grpo.rollout import Answer
from tasks.grpo.scoring import GroupScore, advantages, score_group
from tasks.grpo.tokens import token_metrics, token_sums
from tasks.params import Grpo

POLICY, REFERENCE = "policy", "reference"
"""Names of weights."""


class VideoGRPOTrainer(ResumesWeights, GRPOTrainer):
    """GRPO on images and videos with a temporal contrast (`temporal.py`), its groups over processes (`groups.py`)."""

    ref_model: Any

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
            rollouts: makes the engine of rollouts from the tokenizer and the tokens that end an answer.
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
        for owned in (self.model, self.ref_model):
            if owned is not None:
                use_shared_prefix(use_published_positions(self._unwrapped(owned)))
        if settings.selective_checkpointing:
            use_selective_checkpointing(self._unwrapped(self.model))
        self._rollouts = rollouts(self._tokenizer, self.eos_token_ids)
        self._prompts, self._order, self._clips, self._settings = prompts, order, clips, settings
        self._rollout_log, self._on_skip = log, on_skip
        self._frozen = not trains(self._unwrapped(self.model))
        self._store = self._feature_store()
        same = self._frozen and (self.ref_model is None or self._store is None or self._one_encoder())
        self._reference_weights = POLICY if same else REFERENCE
        temporal = settings.temporal
        self._shuffling = Shuffling(args.seed, temporal.shuffle_unit) if temporal.enabled else None
        # Where weights are sharded every row must pass through the vision encoder, or processes wait for each other.
        sharded = is_sharded(self)
        self._lost = black_picture(processor) if sharded else text_only(self._tokenizer.eos_token_id)
        self._encoded: dict[str, EncodedPrompt] = {}
        self._row_keys: list[str] = []
        self._reading = POLICY
        self._seen: tuple[torch.Tensor, torch.Tensor | None] = (torch.empty(0), None)
        self._media_tokens = {IMAGE: model.config.image_token_id, VIDEO: model.config.video_token_id}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Restore a checkpoint's weights; one of an adapter has the names that transformers reads back."""
        if self._settings.lora.rank:
            GRPOTrainer._load_from_checkpoint(self, resume_from_checkpoint, model)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def close_rollouts(self) -> None:
        """Free the rollout engine."""
        self._rollouts.close()

    def _unwrapped(self, model: Any) -> Any:
        """The Qwen2.5-VL model inside what accelerate and PEFT put around it."""
        return without_adapter_wrapper(self.accelerator.unwrap_model(model))

    # Vision features.

    def _one_encoder(self) -> bool:
        """Whether the reference model's encoder has the policy's weights; one loaded from another folder has not."""
        ours, theirs = (self._unwrapped(m).model.visual.state_dict() for m in (self.model, self.ref_model))
        return all(torch.equal(value, theirs[name]) for name, value in ours.items())

    def _feature_store(self) -> FeatureStore | None:
        """None where nothing would be read from it.

        An encoder that trains has the same weights from the rollouts to the update only. There dropout in an adapter
        would make its passes differ.
        """
        settings = self._settings
        again = self.beta != 0.0 or (settings.temporal.enabled and settings.temporal.mode == "logprob")
        useful = self._frozen or (again and not settings.lora.dropout)
        if not settings.encode_once or not settings.cache_features_gb or not useful:
            return None
        return FeatureStore(settings.cache_features_gb, lasting=self._frozen)

    def vision_features(self, model: Any, prompts: Sequence[EncodedPrompt]) -> list[torch.Tensor | None]:
        """Vision features (tokens, hidden) of prompts under the policy or reference model, unwrapped; None for text.

        Kept ones are used where the weights that made them are the model's and no gradient is to reach the encoder.
        """
        if not self._settings.encode_once:
            return encode_media(model, [prompt._replace(source=None) for prompt in prompts])
        if self._frozen:
            with torch.no_grad():
                return encode_media(model, prompts, self._store, self._reading)
        return encode_media(model, prompts, None if torch.is_grad_enabled() else self._store, self._reading)

    def _drop_stale_features(self) -> None:
        """Of an encoder about to be updated, all; of a frozen one, those of orders that no later step shows."""
        if self._store is not None:
            self._store.keep_only(lambda content: self._frozen and content.whole)

    # One step's rollouts.

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of TRL's generation batch (each prompt `group` times) to the dict that its buffer slices."""
        step = self.state.global_step + 1
        rows = [row["index"] for row in inputs]
        first = self.accelerator.process_index * len(rows)
        self._expect(first, len(rows), step)
        temporal = self._settings.temporal
        shuffled = temporal.shuffled if temporal.enabled and temporal.mode != "logprob" else 0
        held, groups, replaced = self._roll_out(places(rows, first, self.num_generations, shuffled), step)
        rewards, after = totals(list(groups.values()), self.num_generations)
        values = dict(zip(groups, (advantages(rewards, self.scale_rewards) + after).tolist(), strict=True))
        self._report(groups, replaced, values, step)
        self._encoded = encoded_views(held, self._lost)
        found, keys, types = training_rows(held, groups, values, self._encoded, self._tokenizer.pad_token_id)
        if temporal.mode == "logprob" and temporal.token_share:
            weights = answer_weights(held, found["completion_mask"], nats=temporal.nats, share=temporal.token_share)
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
            for slot in barren(groups):
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
                shuffling=self._shuffling,
                on_skip=self._on_skip,
            )
            for place in wanted
        ]
        asks: list[Ask] = []
        for place, views in zip(wanted, opened, strict=True):
            prompt = self._prompts[place.prompt]
            for view, copies in zip(views or (), (place.ordered, place.shuffled), strict=False):
                if view is not None and copies:
                    asks.append(Ask(prompt.text, prompt.record.data_type, view, self._seeds(place, view, copies, step)))
        if not asks and is_sharded(self):
            self._rollouts.answer(self, [idle_ask(self._lost)])  # The others need this process's part of the weights.
        answers = iter(self._rollouts.answer(self, asks) if asks else [])
        held, shuffled = [], []
        for place, views in zip(wanted, opened, strict=True):
            held.append(Held(place, views, next(answers) if views else []))
            shuffled.append(next(answers) if views and views.shuffled and place.shuffled else [])
        held = [each._replace(drops=drops) for each, drops in zip(held, self._drops(held), strict=True)]
        return held, gather_object([outcome(*parts) for parts in zip(held, shuffled, strict=True)])

    def _seeds(self, place: Place, view: View, copies: range, step: int) -> list[int]:
        """One per answer, from its place in the run alone: neither the batch nor the number of processes matters."""
        side = "shuffled" if view.shuffled else "ordered"
        seed = self.args.seed
        return [derive_seed(seed, "rollout", step, place.slot, place.attempt, side, copy) for copy in copies]

    def _score(
        self, prompt: Prompt, answers: list[Answer], shuffled: list[Answer], drops: list[float] | None
    ) -> GroupScore:
        return score_group(prompt.record, answers, shuffled, self._settings, drops)

    def _drops(self, held: Sequence[Held]) -> list[list[list[float]] | None]:
        """Nats that each token of each ordered answer loses under shuffled frames.

        None for places without a shuffled view, and in other modes.
        """
        compared = [each for each in held if each.views and each.views.shuffled]
        if self._settings.temporal.mode != "logprob" or not compared:
            return [None] * len(held)
        answers = [answer for each in compared for answer in each.answers]
        sides = zip(*(each.views for each in compared if each.views), strict=True)
        copies = [len(each.answers) for each in compared]
        keys = [v.key for side in sides for v, n in zip(side, copies, strict=True) for _ in range(n) if v]
        self._encoded = encoded_views(compared, self._lost)
        rows = padded_answers(keys, answers * 2, self._encoded, self._tokenizer.pad_token_id)
        rows = {name: value.to(self.accelerator.device) for name, value in rows.items()}
        ordered, mixed = self._logps(self.model, rows, keys).split(len(answers))
        lost = (ordered - mixed).tolist()
        drops = iter(tokens[: len(answer.ids)] for tokens, answer in zip(lost, answers, strict=True))
        return [[next(drops) for _ in each.answers] if each.views and each.views.shuffled else None for each in held]

    def _report(
        self, groups: dict[int, Group], replaced: Sequence[Group], values: dict[int, list[float]], step: int
    ) -> None:
        """Metrics of all processes' prompts; rollouts to the log."""
        for name, value in step_metrics(list(groups.values()), len(replaced)).items():
            self._metrics["train"][name].append(value)
        if self.accelerator.is_main_process:
            kept, dropped = step_rollouts(groups.values(), values, step), step_rollouts(replaced, None, step)
            self._rollout_log.write(step, [*kept, *dropped])

    def _reference(self, batch: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities (B, C) under the reference model: with an adapter, the policy without it."""
        if self.ref_model is not None:
            return self._logps(self.ref_model, batch, batch["view"], self._reference_weights)
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            return self._logps(self.model, batch, batch["view"], self._reference_weights)

    @torch.no_grad()
    def _logps(self, model: Any, batch: dict[str, Any], keys: list[str], reading: str = POLICY) -> torch.Tensor:
        """Log-probabilities (B, C) of the answers of `batch` under a model, without gradient."""
        with self._rows(keys, reading):
            logps, _, _ = self._get_per_token_logps_and_entropies(
                model,
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

    @contextmanager
    def _rows(self, keys: list[str], reading: str = POLICY) -> Iterator[None]:
        """Say whose rows the next forward is about, and whose weights read them."""
        self._row_keys, self._reading = keys, reading
        try:
            yield
        finally:
            self._row_keys, self._reading = [], POLICY

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
        self._seen = torch.cat(logps), torch.cat(entropies) if compute_entropy else None
        return *self._seen, None

    def _shared(self, model: Any, keys: Sequence[str], answers: torch.Tensor, mask: torch.Tensor) -> Scores:
        """Scores (B, C) of answers, each prompt read once for all its rows."""
        prompts, counts, order = by_prompt(keys)
        used = [keys[row] for row in prompts]
        encoded = [self._encoded[key] for key in used]
        packed = packed_rows(self._unwrapped(model), encoded, counts, answers[order], mask[order])
        with self.accelerator.autocast():
            return in_order(score_answers(model, packed, self._media(model, used)), order)

    def _media(self, model: Any, keys: Sequence[str]) -> dict[str, Any]:
        """Media arguments of a forward over rows of these views."""
        rows = [self._encoded[key] for key in keys]
        device = self.accelerator.device
        placed = {name: value.to(device) for name, value in grids(rows).items()}
        if not self._settings.encode_once:
            return placed | {name: value.to(device) for name, value in pixels(rows).items()}
        unique = list(dict.fromkeys(keys))
        features = self.vision_features(self._unwrapped(model), [self._encoded[key] for key in unique])
        by_key = dict(zip(unique, features, strict=True))
        return placed | {"mm_encoder_outputs": encoder_outputs(rows, [by_key[key] for key in keys])}


def scored_by_group(**_: Any) -> list[float]:
    """Stand in for the reward function that TRL's constructor asks for; answers are scored by `score_group`."""
    raise NotImplementedError("answers are scored by group, not one by one")
