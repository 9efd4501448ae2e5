"""Sampling token by token; completions that have ended are taken out of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tasks.core.backbones import of_model
from tasks.core.models.protocols import Model
from tasks.core.train.completion_cache import CompletionCache
from tasks.core.train.features import encoder_outputs
from tasks.core.train.packing import PositionedPrompt, one_row
from tasks.core.train.rows import EncodedPrompt
from tasks.core.train.shared_prefix import NO_MASK, with_positions

ENDED = 1 / 8
"""Share of ended completions at which they are taken out; taking out each at once would copy more than it saves."""

Choose = Callable[[torch.Tensor, int, torch.Tensor], torch.Tensor]
"""Next tokens (B,) from scores (B, V), the index of the token in the completion, and the completions' numbers (B,)."""


def decode(
    model: Model,
    prompts: Sequence[EncodedPrompt],
    features: Sequence[torch.Tensor | None],
    copies: Sequence[int],
    config: Any,
    choose: Choose,
    log_probs: list[list[float]] | None = None,
) -> list[list[int]]:
    """Token ids of `copies[i]` completions of prompt i, prompt by prompt; ignore tokens behind an end token.

    Args:
        model: policy after `use_shared_prefix`, unwrapped, on a CPU, its weights not sharded.
        prompts: P prompts.
        features: their vision features.
        copies: completions wanted of each.
        config: generation settings, of which only lengths, end tokens and suppressed tokens are read.
        choose: chooses the next tokens.
        log_probs: gets a list for each completion: of every token its log-probability at temperature 1, no token
            forbidden, as a forward over the completion gives it.
    """
    positioned = [with_positions(model, prompt) for prompt in prompts]
    owners = torch.repeat_interleave(torch.arange(len(copies)), torch.tensor(copies))
    following = torch.tensor([prompt.following for prompt in positioned])[owners]
    cache = CompletionCache([len(prompt.ids) for prompt in positioned], copies, config.max_new_tokens)
    scores = _read(model, positioned, encoder_outputs(prompts, features), cache)[owners]
    rows, going = torch.arange(len(owners)), torch.ones(len(owners), dtype=torch.bool)
    ends = torch.tensor(config.eos_token_id)
    completions: list[list[int]] = [[] for _ in rows]
    if log_probs is not None:
        log_probs[:] = [[] for _ in rows]
    for place in range(config.max_new_tokens):
        whole = None if log_probs is None else scores.log_softmax(-1)
        scores[:, config.suppress_tokens] = -torch.inf
        if place < (config.min_new_tokens or 0):
            scores[:, ends] = -torch.inf
        tokens = choose(scores, place, rows)
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            completions[row].append(token)
        if log_probs is not None and whole is not None:
            for row, value in zip(rows.tolist(), whole.gather(1, tokens.unsqueeze(1))[:, 0].tolist(), strict=True):
                log_probs[row].append(value)
        going &= ~torch.isin(tokens, ends)
        unfinished = going.nonzero().squeeze(1)
        if not len(unfinished) or place + 1 == config.max_new_tokens:
            break
        if len(unfinished) <= len(rows) * (1 - ENDED):
            cache.keep(unfinished)
            rows, tokens, going = rows[unfinished], tokens[unfinished], going[unfinished]
        scores = _next(model, tokens, following[rows] + place, len(positioned[0].positions), cache)
    return completions


def _read(
    model: Model, prompts: Sequence[PositionedPrompt], media: dict[str, Any], cache: CompletionCache
) -> torch.Tensor:
    """Scores (P, V) of the token that follows each prompt."""
    lengths = torch.tensor([len(prompt.ids) for prompt in prompts])
    outputs = model(
        input_ids=torch.cat([prompt.ids for prompt in prompts]).unsqueeze(0),
        position_ids=one_row(torch.cat([prompt.positions for prompt in prompts], dim=1)),
        attention_mask=NO_MASK,
        mm_encoder_outputs=media,
        use_cache=False,
        predictors=lengths.cumsum(0) - 1,
        completion_cache=cache,
    )
    return outputs.logits[0].float()


def _next(model: Model, tokens: torch.Tensor, places: torch.Tensor, axes: int, cache: CompletionCache) -> torch.Tensor:
    """Scores (B, V) after one more token of each completion, which has the same position on all axes."""
    output = of_model(model).decoder(model)(
        input_ids=tokens.unsqueeze(0),
        position_ids=one_row(places.expand(axes, -1)),
        attention_mask=NO_MASK,
        use_cache=False,
        completion_cache=cache,
    )
    cache.grow()
    return model.get_output_embeddings()(output.last_hidden_state[0]).float()
