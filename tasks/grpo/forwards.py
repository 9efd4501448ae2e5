"""Forwards over the answers of a step: media by view, vision features, and prompts read once for all their answers.

No pixel tensor enters TRL's buffer, which is permuted and split by rows: rows carry the key of their view, and the
views of the step lie beside the buffer, encoded.

    row     answer 1 of 7   answer 2 of 7   answer 1 of 9
    key     7               7               9
    read    ------------- 7 -------------   9               with `share_prefix_update`; otherwise row by row
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tasks.core.backbones import of_model
from tasks.core.train.features import FeatureStore, encode_media, encoder_outputs, trains
from tasks.core.train.prepare import prepare
from tasks.core.train.rows import EncodedPrompt, grids, pixels
from tasks.core.train.shared_prefix import Scores, by_prompt, in_order, packed_rows, score_answers
from tasks.grpo.engines import without_adapter_wrapper
from tasks.params import Grpo

POLICY, REFERENCE = "policy", "reference"
"""Names of weights."""


class ViewForwards:
    """Mixin before TRL's `GRPOTrainer`: its forwards, of policy and reference model, over rows of views."""

    accelerator: Any
    args: Any
    beta: float
    model: Any
    ref_model: Any

    def _prepare_forwards(self, settings: Grpo) -> None:
        """What TRL's constructor made, made ready; `settings` is the `grpo` section."""
        self._settings = settings
        policy = self._unwrapped(self.model)
        self._backbone = of_model(policy)
        reason = self._backbone.unpackable(policy)
        self._packs = settings.share_prefix_update and reason is None
        if reason is not None and self.accelerator.is_main_process:
            print(f"grpo: prompts are read once for each completion: {reason}")
        for owned in (self.model, self.ref_model):
            if owned is not None:
                prepare(self._unwrapped(owned), packed=reason is None, varlen=settings.varlen_attention)
        prepare(policy, selective=settings.selective_checkpointing)
        self._frozen = not trains(policy)
        self._store = self._feature_store()
        same = self._frozen and (self.ref_model is None or self._store is None or self._one_encoder())
        self._reference_weights = POLICY if same else REFERENCE
        self._encoded: dict[str, EncodedPrompt] = {}
        self._row_keys: list[str] = []
        self._reading = POLICY
        self._seen: tuple[torch.Tensor, torch.Tensor | None] = (torch.empty(0), None)

    def _unwrapped(self, model: Any) -> Any:
        """The model inside what accelerate and PEFT put around it."""
        return without_adapter_wrapper(self.accelerator.unwrap_model(model))

    # Vision features.

    def _one_encoder(self) -> bool:
        """Whether the reference model's encoder has the policy's weights; one loaded from another folder has not."""
        ours, theirs = (of_model(m).encoder_parameters(m) for m in map(self._unwrapped, (self.model, self.ref_model)))
        return all(map(torch.equal, ours, theirs))

    def _feature_store(self) -> FeatureStore | None:
        """None where nothing would be read from it.

        An encoder that trains has the same weights from the rollouts to the update only. There dropout in an adapter
        would make its passes differ.
        """
        settings = self._settings
        again = self.beta != 0.0 or settings.objective.asks().scored
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

    # Log-probabilities.

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
            if self._packs:
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
                    **self._kinds(self._row_keys[rows], ids, logits_to_keep),
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
        if not self._settings.encode_once and self._backbone.joins(rows):
            return placed | {name: value.to(device) for name, value in pixels(rows).items()}
        unique = list(dict.fromkeys(keys))
        features = self.vision_features(self._unwrapped(model), [self._encoded[key] for key in unique])
        by_key = dict(zip(unique, features, strict=True))
        return placed | {"mm_encoder_outputs": encoder_outputs(rows, [by_key[key] for key in keys])}

    def _kinds(self, keys: Sequence[str], ids: torch.Tensor, completion: int) -> dict[str, torch.Tensor]:
        """mm_token_type_ids of rows (B, L) whose last `completion` tokens are sampled, where a model takes it."""
        if not self._backbone.places_by_kind:
            return {}
        kinds, end = torch.zeros_like(ids), ids.shape[1] - completion
        for row, key in enumerate(keys):
            own = self._encoded[key].kinds
            kinds[row, end - len(own) : end] = own
        return {"mm_token_type_ids": kinds}
