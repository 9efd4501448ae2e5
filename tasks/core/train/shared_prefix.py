"""Log-probabilities of a group's completions from one pass over their prompt, with and without gradient.

Every layer reads each prompt token once, whatever the number of completions, and adds up the gradients of all of them.
The result is exact: a completion's token sees the same keys at the same positions as in a row of its own. Only tokens
that predict a completion's token leave the last layer, so that the output layer computes nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.backbones import EncodedPrompt, of_model
from tasks.core.models.protocols import Model
from tasks.core.train.packing import Packed, PositionedPrompt, one_row, pack
from tasks.core.train.split_attention import MASKED, NAME, register

NO_MASK = torch.ones(1, 1, 1, 1, dtype=torch.bool)
"""transformers passes a mask of four dimensions on and makes none; split attention reads no mask."""


class Scores(NamedTuple):
    """Both (B, C), zero where there is no completion token."""

    log_probs: torch.Tensor
    entropy: torch.Tensor | None
    """None: the model's head does not compute it."""


class Rows(NamedTuple):
    """Rows of a batch, grouped by their prompt."""

    prompts: list[int]
    """The first row of each prompt."""
    counts: list[int]
    """Rows of each."""
    order: list[int]
    """All rows, those of a prompt together."""


def use_shared_prefix(model: Model, varlen: bool = True) -> Model:
    """Let a model read packed rows; every other forward and `generate` stay as they are. Called by `prepare`.

    Args:
        model: unwrapped, with SDPA attention; changed in place, once.
        varlen: whether packed rows go through FlashAttention where that runs.

    Returns:
        The same model.

    Raises:
        ValueError: another attention, attention dropout, or layers that cannot be packed.
    """
    backbone = of_model(model)
    inner = backbone.decoder(model)
    config = inner.config
    if config._attn_implementation in (NAME, MASKED):
        return model
    if (reason := backbone.unpackable(model)) is not None:
        raise ValueError(f"packed rows: {reason}")
    if config._attn_implementation != "sdpa" or config.attention_dropout:
        raise ValueError(
            f"packed rows need SDPA attention without dropout, not {config._attn_implementation}, "
            f"{config.attention_dropout}"
        )
    register()
    config._attn_implementation = NAME if varlen else MASKED
    inner.register_forward_hook(_predictors_only, with_kwargs=True)
    return model


def by_prompt(keys: Sequence[Hashable]) -> Rows:
    """Group rows of the same key, which share a prompt: TRL shuffles the rows of a step."""
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    groups = list(rows.values())
    order = list(itertools.chain.from_iterable(groups))
    return Rows([group[0] for group in groups], [len(group) for group in groups], order)


def packed_rows(
    inner: Model, prompts: Sequence[EncodedPrompt], counts: Sequence[int], completions: torch.Tensor, mask: torch.Tensor
) -> Packed:
    """Pack prompts and completions, with positions by the model's own rule.

    Args:
        inner: the unwrapped model.
        prompts: P encoded prompts.
        counts: rows of each.
        completions: (B, C) token ids, padded on the right.
        mask: (B, C).
    """
    return pack([with_positions(inner, prompt) for prompt in prompts], counts, completions, mask)


def score_completions(model: Model, packed: Packed, media: Mapping[str, Any]) -> Scores:
    """Log-probabilities and entropies of the completions of a packed row.

    Args:
        model: a model after `use_shared_prefix` with TRL's fused head, wrapped or not.
        packed: the row.
        media: pixels or vision features of its prompts, in order.
    """
    outputs = model(
        input_ids=packed.ids,
        position_ids=one_row(packed.positions),
        attention_mask=NO_MASK.to(packed.ids.device),
        shared_prefix=packed.layout,
        predictors=packed.predictors,
        shift_labels=packed.targets,
        fused_lm_head=True,
        **media,
    )
    # Scattering keeps the result connected to the model when no token is scored, so that backward can run.
    empty = outputs.log_probs.new_zeros(packed.mask.shape)

    log_probs, entropy = (
        None if values is None else empty.masked_scatter(packed.mask, values[0])
        for values in (outputs.log_probs, outputs.entropy)
    )
    return Scores(log_probs, entropy)


def in_order(scores: Scores, order: Sequence[int]) -> Scores:
    """Scores of rows that were taken in `order`, in the batch's own order again."""
    back = torch.tensor(order).argsort()
    return Scores(*(None if values is None else values[back.to(values.device)] for values in scores))


def with_positions(inner: Model, prompt: EncodedPrompt) -> PositionedPrompt:
    """A prompt with its positions by the rule of an unwrapped model."""
    return PositionedPrompt(prompt.ids, *of_model(inner).positions(inner, prompt))


def _predictors_only(module: Any, _: Any, options: dict[str, Any], output: Any) -> Any:
    """Keep of a packed row's last hidden states those that predict a scored token."""
    if (predictors := options.get("predictors")) is not None:
        output.last_hidden_state = output.last_hidden_state[:, predictors]
    return output
