"""Keys and values of prompts, kept once for all their completions, and of the completions that still go on.

The first pass reads all prompts, one after another in one row without padding. Every further pass reads one token of
each completion, completions of a prompt side by side. A token attends to its prompt and to its own completion so far;
the two parts are merged by their log-sum-exp, as in `split_attention.py`, and nothing is copied or masked.

    own (completions, heads, tokens, d)      all completions have the same length; one that has ended is taken out

For the CPU only: its fused kernel gives the log-sum-exp.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from tasks.core.train.packing import Layout
from tasks.core.train.split_attention import attend, fused

Pair = tuple[torch.Tensor, torch.Tensor]


class CompletionCache:
    """Keys and values that the layers of a model read while completions are sampled; without gradients.

    The model is one after `use_shared_prefix`.
    """

    def __init__(self, prompts: Sequence[int], copies: Sequence[int], tokens: int) -> None:
        """Set up.

        Args:
            prompts: tokens of each prompt.
            copies: completions to each.
            tokens: longest completion.
        """
        self._layout = Layout(list(prompts), [[] for _ in prompts])
        self._owners = torch.repeat_interleave(torch.arange(len(copies)), torch.tensor(copies))
        self._counts = list(copies)
        self._tokens, self._length = tokens, 0
        self._read: list[list[Pair]] = []
        self._own: list[Pair] = []

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """Attention of one layer, whose keys and values are kept.

        The first call of a layer has the tokens of all prompts, every later one a token of each completion.

        Args:
            layer: number of the layer; layers come in order.
            query: (1, heads, N, d).
            key: (1, key heads, N, d).
            value: (1, key heads, N, d).
            scale: of the scores.

        Returns:
            (1, N, heads, d).
        """
        if layer == len(self._read):
            parts = (kept.contiguous().split(self._layout.prompts, dim=2) for kept in (key, value))
            self._read.append(list(zip(*parts, strict=True)))
            shape = (len(self._owners), key.shape[1], self._tokens, key.shape[3])
            self._own.append((value.new_empty(shape), value.new_empty(shape)))
            return attend(query, key, value, self._layout, scale, merge=True)
        for kept, new in zip(self._own[layer], (key, value), strict=True):
            kept[:, :, self._length] = new[0].transpose(0, 1)
        own = (kept[:, :, : self._length + 1] for kept in self._own[layer])
        own_part, lse = fused(query[0].transpose(0, 1).unsqueeze(2), *own, scale=scale)  # (N, heads, 1, d)
        prompt_part, prompt_lse = self._prompt_part(layer, query, scale)
        # exp(a) / (exp(a) + exp(b)) = sigmoid(a - b)
        weight = (prompt_lse - lse.squeeze(2)).sigmoid().to(own_part.dtype)
        return torch.lerp(own_part.squeeze(2), prompt_part, weight.unsqueeze(-1)).unsqueeze(0)

    def grow(self) -> None:
        """Count the token that a pass over all layers added to every completion."""
        self._length += 1

    def keep(self, completions: torch.Tensor) -> None:
        """Take out all completions but these: ascending indices into those still kept."""
        for kept in itertools.chain.from_iterable(self._own):
            kept[: len(completions), :, : self._length] = kept[completions, :, : self._length]
        self._own = [(keys[: len(completions)], values[: len(completions)]) for keys, values in self._own]
        self._owners = self._owners[completions]
        self._counts = torch.bincount(self._owners, minlength=len(self._counts)).tolist()

    def _prompt_part(self, layer: int, query: torch.Tensor, scale: float | None) -> Pair:
        """Attention (N, heads, d) of each completion's token to its prompt, and its log-sum-exp (N, heads)."""
        parts, lses = [], []
        for read, asked, count in zip(self._read[layer], query.split(self._counts, dim=2), self._counts, strict=True):
            if count:
                seen, lse = fused(asked, *read, scale=scale)
                parts.append(seen[0].transpose(0, 1))
                lses.append(lse[0].T)
        return torch.cat(parts), torch.cat(lses)
