"""Sampling token by token, with completions that have ended taken out of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tasks.core.backbones import of_model
from tasks.core.train.answer_cache import AnswerCache
from tasks.core.train.features import encoder_outputs
from tasks.core.train.packing import Placed, one_row
from tasks.core.train.rows import EncodedPrompt
from tasks.core.train.shared_prefix import NO_MASK, placed

ENDED = 1 / 8
"""Share of the batch that has ended when it is taken out; taking out one by one would copy more than it saves."""


Choose = Callable[[torch.Tensor, int, torch.Tensor], torch.Tensor]
"""Next tokens (B,) from scores (B, V), the place in the completion and the numbers (B,) of the completions."""


def decode(
    model: Any,
    prompts: Sequence[EncodedPrompt],
    features: Sequence[torch.Tensor | None],
    copies: Sequence[int],
    config: Any,
    choose: Choose,
) -> list[list[int]]:
    """Token ids of `copies[i]` completions to prompt i, prompt after prompt; what follows an end token is meaningless.

    Args:
        model: policy after `use_shared_prefix`, unwrapped, on a processor, its weights not sharded.
        prompts: P prompts.
        features: their vision features.
        copies: completions wanted of each.
        config: generation settings: lengths, end tokens, suppressed tokens; nothing else of them is read.
        choose: takes the next tokens.
    """
    laid = [placed(model, prompt) for prompt in prompts]
    owners = torch.repeat_interleave(torch.arange(len(copies)), torch.tensor(copies))
    following = torch.tensor([prompt.following for prompt in laid])[owners]
    cache = AnswerCache([len(prompt.ids) for prompt in laid], copies, config.max_new_tokens)
    scores = _read(model, laid, encoder_outputs(prompts, features), cache)[owners]
    rows, going = torch.arange(len(owners)), torch.ones(len(owners), dtype=torch.bool)
    ends = torch.tensor(config.eos_token_id)
    found: list[list[int]] = [[] for _ in rows]
    for place in range(config.max_new_tokens):
        scores[:, config.suppress_tokens] = -torch.inf
        if place < (config.min_new_tokens or 0):
            scores[:, ends] = -torch.inf
        tokens = choose(scores, place, rows)
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            found[row].append(token)
        going &= ~torch.isin(tokens, ends)
        left = going.nonzero().squeeze(1)
        if not len(left) or place + 1 == config.max_new_tokens:
            break
        if len(left) <= len(rows) * (1 - ENDED):
            cache.keep(left)
            rows, tokens, going = rows[left], tokens[left], going[left]
        scores = _next(model, tokens, following[rows] + place, len(laid[0].positions), cache)
    return found


def _read(model: Any, laid: Sequence[Placed], media: dict[str, Any], cache: AnswerCache) -> torch.Tensor:
    """Scores (P, V) of what follows each prompt."""
    lengths = torch.tensor([len(prompt.ids) for prompt in laid])
    outputs = model(
        input_ids=torch.cat([prompt.ids for prompt in laid]).unsqueeze(0),
        position_ids=one_row(torch.cat([prompt.positions for prompt in laid], dim=1)),
        attention_mask=NO_MASK,
        mm_encoder_outputs=media,
        use_cache=False,
        predictors=lengths.cumsum(0) - 1,
        answer_cache=cache,
    )
    return outputs.logits[0].float()


def _next(model: Any, tokens: torch.Tensor, places: torch.Tensor, axes: int, cache: AnswerCache) -> torch.Tensor:
    """Scores (B, V) after one more token of each completion, at the same place on all axes of position."""
    output = of_model(model).decoder(model)(
        input_ids=tokens.unsqueeze(0),
        position_ids=one_row(places.expand(axes, -1)),
        attention_mask=NO_MASK,
        use_cache=False,
        answer_cache=cache,
    )
    cache.grow()
    return model.get_output_embeddings()(output.last_hidden_state[0]).float()
