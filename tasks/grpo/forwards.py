"""Log-probabilities of completions under the policy or the reference model, with and without gradient.

No pixel tensor enters TRL's buffer, which is permuted and split by rows: every row carries the key of its view and the
encoded prompt itself.

    row     completion 1 of 7   completion 2 of 7   completion 1 of 9
    key     7                   7                   9
    read    ----------------- 7 -----------------   9             packed; otherwise row by row

Under sharding (`core/train/sharding.py`) every call here is the same number of forwards on all processes, each with one
call of the vision encoder: images and videos go through it together, and where nothing is to be encoded (features are
kept from before, or rows have no medium) a stand-in picture does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.backbones import of_model
from tasks.core.models.protocols import Model
from tasks.core.train.features import FeatureStore, encode_media, encoder_outputs, trains
from tasks.core.train.prepare import prepare
from tasks.core.train.rows import EncodedPrompt, grids, pad_rows, pixels
from tasks.core.train.sharding import gather_for_encoding
from tasks.core.train.shared_prefix import Scores, by_prompt, in_order, packed_rows, score_completions

POLICY, REFERENCE = "policy", "reference"
"""Names of weights, for kept vision features."""


class Levers(NamedTuple):
    """What makes forwards fast or small; none changes a result beyond rounding. Fields of the `grpo` section."""

    encode_once: bool = True
    cache_features_gb: float = 0.0
    share_prefix_update: bool = True
    varlen_attention: bool = True
    selective_checkpointing: bool = False


class Rows(NamedTuple):
    """Completions and what they complete: all that a forward reads."""

    keys: Sequence[str]
    """B names; rows of one view have the same."""
    prompts: Sequence[EncodedPrompt]
    """B encoded views."""
    completion_ids: torch.Tensor
    """(B, C), padded on the right."""
    completion_mask: torch.Tensor
    """(B, C)."""

    def part(self, rows: slice) -> Rows:
        """Some of the rows."""
        return Rows(self.keys[rows], self.prompts[rows], self.completion_ids[rows], self.completion_mask[rows])

    def to(self, device: torch.device) -> Rows:
        """The same rows with their tokens on a device."""
        tokens = {"completion_ids": self.completion_ids.to(device), "completion_mask": self.completion_mask.to(device)}
        return self._replace(**tokens)


class Forwards:
    """Forwards over rows, of a policy and its reference model."""

    def __init__(
        self,
        accelerator: Any,
        policy: Model,
        reference: Model | None,
        levers: Levers,
        *,
        keeps_features: bool,
        idle: EncodedPrompt | None,
        pad: int,
    ) -> None:
        """Make both models ready.

        Args:
            accelerator: the trainer's.
            policy: unwrapped; changed in place (`core/train/prepare.py`).
            reference: unwrapped; None without one, or where it is the policy without its adapter.
            levers: see `Levers`.
            keeps_features: whether features of an encoder that trains are read again before its next update, and
                passes over it do not differ by dropout.
            idle: what the encoder sees where a process has nothing for it; None where weights are whole.
            pad: padding token.
        """
        self._accelerator, self._levers, self._idle, self._pad = accelerator, levers, idle, pad
        self._backbone = of_model(policy)
        reason = self._backbone.unpackable(policy)
        self._packs = levers.share_prefix_update and reason is None
        if reason is not None and accelerator.is_main_process:
            print(f"grpo: prompts are read once for each completion: {reason}")
        for model in filter(None, (policy, reference)):
            prepare(model, packed=reason is None, varlen=levers.varlen_attention)
        prepare(policy, selective=levers.selective_checkpointing)
        self._frozen = not trains(policy)
        self._store: FeatureStore | None = None
        if levers.encode_once and levers.cache_features_gb and (self._frozen or keeps_features):
            self._store = FeatureStore(levers.cache_features_gb, lasting=self._frozen)
        # Under sharding the reference model is a copy of the policy as it was loaded.
        alike = reference is None or self._store is None or idle is not None or _same_encoder(policy, reference)
        self.reference_weights = POLICY if self._frozen and alike else REFERENCE

    def unwrapped(self, model: Model) -> Model:
        """The model inside what accelerate and PEFT put around it."""
        return without_adapter_wrapper(self._accelerator.unwrap_model(model))

    def features(
        self, model: Model, prompts: Sequence[EncodedPrompt], weights: str = POLICY
    ) -> list[torch.Tensor | None]:
        """Vision features (tokens, hidden) of prompts under an unwrapped model; None for text.

        Kept ones are used where the weights that made them are the model's and no gradient is to reach the encoder.
        """
        if self._idle is not None:
            gather_for_encoding(model)
        if not self._levers.encode_once:
            return encode_media(model, [prompt._replace(source=None) for prompt in prompts], idle=self._idle)
        store = None if torch.is_grad_enabled() and not self._frozen else self._store
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen):
            return encode_media(model, prompts, store, weights, idle=self._idle)

    def drop_stale_features(self) -> None:
        """Of an encoder about to be updated, all; of a frozen one, those of orders that no later step shows."""
        if self._store is not None:
            self._store.keep_only(lambda content: self._frozen and content.whole)

    def log_probs(self, model: Model, rows: Rows, *, entropy: bool = False, weights: str = POLICY) -> Scores:
        """Log-probabilities (B, C) of the completions in one forward, float32 whatever the weights are; 0 on padding.

        Args:
            model: policy or reference model, as accelerate prepared it.
            rows: what is read.
            entropy: whether entropies (B, C) are wanted.
            weights: POLICY or REFERENCE.
        """
        scores = self._packed(model, rows, weights) if self._packs else self._row_by_row(model, rows, weights)
        if scores.log_probs.dtype != torch.float32:
            raise TypeError(f"log-probabilities left the model as {scores.log_probs.dtype}; they must stay float32")
        return scores if entropy else scores._replace(entropy=None)

    @torch.no_grad()
    def scored(self, model: Model, rows: Rows, size: int, weights: str = POLICY) -> torch.Tensor:
        """`log_probs` without gradient; of whole weights `size` rows at a time, of sharded ones in one forward."""
        size = len(rows.keys) if self._idle is not None else size
        parts = [rows.part(slice(start, start + size)) for start in range(0, len(rows.keys), size)]
        return torch.cat([self.log_probs(model, part, weights=weights).log_probs for part in parts])

    def _packed(self, model: Model, rows: Rows, weights: str) -> Scores:
        """Each prompt read once for all its rows."""
        firsts, counts, order = by_prompt(rows.keys)
        prompts, keys = [rows.prompts[row] for row in firsts], [rows.keys[row] for row in firsts]
        ids, mask = rows.completion_ids[order], rows.completion_mask[order]
        packed = packed_rows(self.unwrapped(model), prompts, counts, ids, mask)
        with self._accelerator.autocast():
            return in_order(score_completions(model, packed, self._media(model, keys, prompts, weights)), order)

    def _row_by_row(self, model: Model, rows: Rows, weights: str) -> Scores:
        """Every row a sequence of its own, padded."""
        device, length = self._accelerator.device, rows.completion_ids.shape[1]
        prompt_ids = pad_rows([prompt.ids for prompt in rows.prompts], self._pad, "left").to(device)
        prompt_mask = pad_rows([torch.ones_like(prompt.ids) for prompt in rows.prompts], 0, "left").to(device)
        ids = torch.cat([prompt_ids, rows.completion_ids], dim=1)
        labels = ids.masked_fill(torch.cat([torch.zeros_like(prompt_mask), rows.completion_mask], dim=1) == 0, -100)
        kinds = {}
        if self._backbone.places_by_kind:
            own = pad_rows([prompt.kinds for prompt in rows.prompts], 0, "left").to(device)
            kinds = {"mm_token_type_ids": torch.cat([own, torch.zeros_like(rows.completion_ids)], dim=1)}
        with self._accelerator.autocast():
            outputs = model(
                input_ids=ids,
                attention_mask=torch.cat([prompt_mask, rows.completion_mask], dim=1),
                **kinds,
                **self._media(model, rows.keys, rows.prompts, weights),
                labels=labels,
                fused_lm_head=True,
            )
        entropy = None if outputs.entropy is None else outputs.entropy[:, -length:]
        return Scores(outputs.log_probs[:, -length:], entropy)

    def _media(
        self, model: Model, keys: Sequence[str], prompts: Sequence[EncodedPrompt], weights: str
    ) -> dict[str, Any]:
        """Media arguments of a forward over rows of these views."""
        device = self._accelerator.device
        placed = {name: value.to(device) for name, value in grids(prompts).items()}
        if not self._levers.encode_once and self._idle is None and self._backbone.joins(prompts):
            return placed | {name: value.to(device) for name, value in pixels(prompts).items()}
        first = dict(zip(reversed(keys), reversed(prompts), strict=True))
        unique = {key: first[key] for key in dict.fromkeys(keys)}
        made = self.features(self.unwrapped(model), list(unique.values()), weights)
        by_key = dict(zip(unique, made, strict=True))
        return placed | {"mm_encoder_outputs": encoder_outputs(prompts, [by_key[key] for key in keys])}


def _same_encoder(policy: Model, reference: Model | None) -> bool:
    """Whether the reference model's encoder has the policy's weights; one loaded from another folder has not."""
    ours, theirs = (of_model(model).encoder_parameters(model) for model in (policy, reference))
    return all(map(torch.equal, ours, theirs))


def without_adapter_wrapper(model: Model) -> Model:
    """The model inside a PEFT wrapper, its adapter layers in place; any other model as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
