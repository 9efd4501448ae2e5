"""Exact sampling with one random stream per completion; the checkpoint's own sampling settings are not used.

All sampling with transformers is done here: RL rollouts, annotate, benchmark, ask. The same weights, prompt, seed,
temperature and top_p give the same completion, whichever stage asks and whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor

from tasks.core.models.protocols import Model, Processor
from tasks.core.models.visual_tokens import visual_token_ids

GREEDY_BELOW = 1e-5
"""Temperatures under this take the likeliest token."""


class RowSampler(LogitsProcessor):
    """Turns greedy search into sampling: one random stream per row, one number per token.

    A token is the first whose cumulative probability exceeds the stream's next number (inverse transform sampling), an
    exact draw. `generate` itself draws a whole batch from one stream, so that a completion would depend on its
    neighbours and on how many processes share the batch.
    """

    def __init__(self, seeds: Sequence[int], tokens: int, temperature: float, top_p: float, device: Any) -> None:
        """One seed per row; `tokens` is the longest completion."""
        rows = [torch.rand(tokens, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
        self._numbers, self._position = torch.stack(rows).to(device), 0
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V) of the next position: 0 for the sampled token, -inf for the others."""
        token = self.choose(scores, self._position, torch.arange(len(scores), device=scores.device))
        self._position += 1
        return torch.full_like(scores, -torch.inf).scatter(1, token.unsqueeze(1), 0.0)

    def choose(self, scores: torch.Tensor, position: int, rows: torch.Tensor) -> torch.Tensor:
        """Sampled tokens (B,) from scores (B, V), for these rows (B,) at this position of their completions."""
        if self._temperature < GREEDY_BELOW:
            return likeliest(scores, position, rows)
        shares = nucleus(scores.float() / self._temperature, self._top_p).softmax(-1, dtype=torch.float64)
        rising = shares.cumsum(-1)
        # Rounding may leave the last sum under 1; the number is scaled to it, so that it always lies below.
        aim = self._numbers[rows, position].unsqueeze(1) * rising[:, -1:]
        return torch.searchsorted(rising, aim, right=True).clamp(max=scores.shape[1] - 1).squeeze(1)


def likeliest(scores: torch.Tensor, position: int, rows: torch.Tensor) -> torch.Tensor:
    """In place of `RowSampler.choose`: the likeliest tokens (B,)."""
    return scores.argmax(dim=-1)


def nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Scores (B, V), -inf outside the smallest set with probability `top_p`; the likeliest token always stays."""
    if top_p >= 1:
        return scores
    ordered, order = scores.sort(dim=-1, descending=True)
    share = ordered.softmax(dim=-1)
    outside = share.cumsum(dim=-1) - share >= top_p
    return scores.masked_fill(outside.scatter(-1, order, outside), -torch.inf)


def generation_settings(processor: Processor, ends: Sequence[int], max_new_tokens: int) -> GenerationConfig:
    """Greedy settings for `generate`, to be turned into sampling by a `RowSampler`; visual tokens are never sampled.

    Args:
        processor: of the model.
        ends: tokens that end a completion.
        max_new_tokens: longest completion.
    """
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=processor.tokenizer.pad_token_id,
        eos_token_id=list(ends),
        suppress_tokens=visual_token_ids(processor),
    )


@contextmanager
def without_checkpoint_settings(model: Model) -> Iterator[None]:
    """While open, `model.generate` takes no settings from the checkpoint's generation_config.json.

    Released checkpoints carry sampling settings there (a repetition_penalty of 1.05), and transformers takes from them
    whatever the caller left open: completions would come from another distribution than the model's own.
    """
    kept, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


def end_tokens(model: Model, processor: Processor) -> list[int]:
    """Ids that end a completion: the tokenizer's end token and those of the checkpoint's generation settings."""
    configured = model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [*ends, processor.tokenizer.eos_token_id] if token is not None})
