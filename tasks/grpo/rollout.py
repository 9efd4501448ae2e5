"""Sampling of completions from vision features; each completion has a random stream of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache, LogitsProcessorList

from tasks.core.backbones import of_model
from tasks.core.engine.sampler import RowSampler, likeliest, without_checkpoint_settings
from tasks.core.models.inputs import padded
from tasks.core.models.protocols import Model
from tasks.core.train.features import encoder_outputs
from tasks.core.train.rows import EncodedPrompt
from tasks.grpo.decode import decode


class Completion(NamedTuple):
    """One sampled completion."""

    ids: list[int]
    """Token ids, with the end token if it ended by itself."""
    text: str
    """Decoded without special tokens."""
    truncated: bool
    """Whether it was cut at the length limit."""
    log_probs: list[float] | None = None
    """Log-probability of each token as the rollout engine saw it, at temperature 1; None where it is not asked."""
    policy_log_probs: list[float] | None = None
    """The same where the policy itself sampled, which are those of a forward over the completion, up to rounding."""


def sample(
    model: Model,
    prompts: Sequence[EncodedPrompt],
    features: Sequence[torch.Tensor | None],
    copies: Sequence[int],
    config: Any,
    share_prefix: bool = True,
    sampler: RowSampler | None = None,
    sharded: bool = False,
    drop_ended: bool = False,
    log_probs: list[list[float]] | None = None,
) -> list[list[list[int]]]:
    """Sample `copies[i]` completions to prompt i, all in one batch.

    Args:
        model: policy, unwrapped.
        prompts: P prompts.
        features: their vision features.
        copies: completions wanted of each.
        config: greedy generation settings.
        share_prefix: read every prompt once and copy its keys and values to its completions, instead of reading it for
            each.
        sampler: has a random stream for every completion, in order; None takes the likeliest tokens.
        drop_ended: decode in a loop that takes completions out as they end (`decode.py`) and copies no prompt; on a
            CPU, with `share_prefix`, the model after `use_shared_prefix` and its weights not sharded.
        log_probs: see `decode`; stays as it is where completions are not decoded there.
        sharded: go on until the longest completion of all processes ends, for weights are gathered at every token.

    Returns:
        For each prompt its completions' token ids, up to and with the first end token.
    """
    backbone = of_model(model)
    packs = backbone.unpackable(model) is None
    if drop_ended and share_prefix and packs and not sharded and model.device.type == "cpu":
        choose = likeliest if sampler is None else sampler.choose
        decoded = iter(decode(model, prompts, features, copies, config, choose, log_probs))
        return [[up_to_end(next(decoded), config.eos_token_id) for _ in range(count)] for count in copies]
    rows = padded(prompts, config.pad_token_id, "left", kinds=backbone.places_by_kind)
    inputs = {name: value.to(model.device) for name, value in rows.items()}
    positions = backbone.generate_positions(model, prompts, inputs)
    owners = torch.tensor([row for row, count in enumerate(copies) for _ in range(count)], device=model.device)
    expanded = {name: value[owners] for name, value in inputs.items()} | {"position_ids": positions[..., owners, :]}
    if share_prefix:
        cache = _read_prompts(model, inputs, positions, encoder_outputs(prompts, features))
        cache.reorder_cache(owners)  # Of recurrent layers, too, which have no keys to select from.
        expanded["past_key_values"] = cache
    else:
        each = owners.tolist()
        expanded["mm_encoder_outputs"] = encoder_outputs([prompts[i] for i in each], [features[i] for i in each])
    processors = LogitsProcessorList([] if sampler is None else [sampler])
    with without_checkpoint_settings(model):
        output = model.generate(**expanded, generation_config=config, logits_processor=processors, synced_gpus=sharded)
    completions: list[list[list[int]]] = [[] for _ in prompts]
    for owner, tokens in zip(owners.tolist(), output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
        completions[owner].append(up_to_end(tokens, config.eos_token_id))
    return completions


def _read_prompts(
    model: Model, inputs: dict[str, torch.Tensor], positions: torch.Tensor, media: dict[str, Any]
) -> DynamicCache:
    """Keys and values of the prompts without their last token, which generation reads."""
    cache = DynamicCache(config=model.config.get_text_config())
    model(
        **{name: value[:, :-1] for name, value in inputs.items()},
        position_ids=positions[..., :-1],
        mm_encoder_outputs=media,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache


def up_to_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """Tokens up to and with the first end token; all of them when there is none."""
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: end + 1]
