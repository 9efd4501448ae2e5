"""Keys and values of prompts, kept once for all their answers, and of the answers that still go on.

A pass over tokens lays them in one row without padding: first all prompts, end to end, then, time after time, one token
of every answer, those of a prompt together. A token attends to its prompt and to its own answer so far; the two parts
are merged by their log-sum-exp, as in `split_attention.py`, and nothing is copied or masked.

    own (answers, heads, tokens, d)      all answers laid are of one length; one that has ended is taken out

On a processor only, whose fused kernel gives the log-sum-exp.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from tasks.core.train.packing import Layout
from tasks.core.train.split_attention import attend, fused

Pair = tuple[torch.Tensor, torch.Tensor]


class AnswerCache:
    """What the layers of a model after `use_shared_prefix` attend to while answers are sampled; not for gradients."""

    def __init__(self, prompts: Sequence[int], copies: Sequence[int], tokens: int) -> None:
        """Set up.

        Args:
            prompts: tokens of each prompt.
            copies: answers to each.
            tokens: longest answer.
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
        """Attention of one layer, whose keys and values are kept: the prompts first, later one token of each answer.

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
        found, lse = fused(query[0].transpose(0, 1).unsqueeze(2), *own, scale=scale)  # (N, heads, 1, d)
        seen, seen_lse = self._prompt_part(layer, query, scale)
        # exp(a) / (exp(a) + exp(b)) = sigmoid(a - b)
        weight = (seen_lse - lse.squeeze(2)).sigmoid().to(found.dtype)
        return torch.lerp(found.squeeze(2), seen, weight.unsqueeze(-1)).unsqueeze(0)

    def grow(self) -> None:
        """Every answer has a token more; after a pass over all layers."""
        self._length += 1

    def keep(self, answers: torch.Tensor) -> None:
        """Take out all answers but these: ascending places among those laid."""
        for kept in itertools.chain.from_iterable(self._own):
            kept[: len(answers), :, : self._length] = kept[answers, :, : self._length]
        self._own = [(keys[: len(answers)], values[: len(answers)]) for keys, values in self._own]
        self._owners = self._owners[answers]
        self._counts = torch.bincount(self._owners, minlength=len(self._counts)).tolist()

    def _prompt_part(self, layer: int, query: torch.Tensor, scale: float | None) -> Pair:
        """Attention (N, heads, d) of each answer's token to its prompt, and its log-sum-exp (N, heads)."""
        found, lses = [], []
        for read, asked, count in zip(self._read[layer], query.split(self._counts, dim=2), self._counts, strict=True):
            if count:
                seen, lse = fused(asked, *read, scale=scale)
                found.append(seen[0].transpose(0, 1))
                lses.append(lse[0].T)
        return torch.cat(found), torch.cat(lses)
