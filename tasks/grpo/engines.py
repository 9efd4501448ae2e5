"""Where rollouts are sampled: `grpo.rollout_engine`.

transformers   the policy itself, in its own process, under any launcher
vllm           an engine beside it that gets the policy's weights before every step (`vllm_rollouts.py`)
vllm_server    a server on other GPUs that gets them likewise (`server_rollouts.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from tasks.core.engine.sampler import RowSampler, generation_settings
from tasks.core.models.protocols import Model, Processor, Tokenizer
from tasks.core.text import opened_by
from tasks.core.train.rows import EncodedPrompt
from tasks.core.video import Clip
from tasks.grpo.data import View, black_picture
from tasks.grpo.rollout import Completion, sample

Encode = Callable[[Any, Sequence[EncodedPrompt]], list[torch.Tensor | None]]
"""Vision features (tokens, hidden) of prompts under an unwrapped model; None for text."""


class RolloutRequest(NamedTuple):
    """A view to complete."""

    text: str
    """Rendered prompt, its placeholder not expanded."""
    data_type: str
    """image or video."""
    view: View
    seeds: list[int]
    """One per completion: its own random stream."""


class Policy(NamedTuple):
    """The policy as an engine gets it for one round of requests."""

    model: Model
    """Unwrapped, in evaluation mode; its weights are those of `version`."""
    version: int
    """Optimizer steps that its weights have behind them."""
    sharded: bool
    """Whether weights lie in parts on all processes: then all of them must make the same calls."""
    autocast: Callable[[], AbstractContextManager[Any]]
    """Mixed precision of the policy's own forwards."""


class Rollouts(Protocol):
    """Samples the completions of a step."""

    def complete(self, policy: Policy, encode: Encode, requests: Sequence[RolloutRequest]) -> list[list[Completion]]:
        """Completions of every request under the policy's weights; visual special tokens are never sampled.

        All processes call it together, those without requests too.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class TransformersRollouts:
    """`Rollouts` by the policy itself: vision features once per view, keys and values of a prompt once."""

    def __init__(
        self,
        sampling: Any,
        processor: Processor,
        ends: Sequence[int],
        share_prefix: bool,
        drop_ended: bool = False,
        scored: bool = False,
    ) -> None:
        """Set up.

        Args:
            sampling: temperature, top_p and max_tokens.
            processor: of the policy.
            ends: tokens that end a completion.
            share_prefix: see `rollout.sample`.
            drop_ended: see `rollout.sample`.
            scored: hand over log-probabilities where sampling has them (`Completion.policy_log_probs`).
        """
        self._sampling, self._processor, self._tokenizer, self._ends = sampling, processor, processor.tokenizer, ends
        self._share_prefix, self._drop_ended, self._scored = share_prefix, drop_ended, scored
        self._config = generation_settings(processor, ends, sampling.max_tokens)

    def complete(self, policy: Policy, encode: Encode, requests: Sequence[RolloutRequest]) -> list[list[Completion]]:
        """See `Rollouts.complete`; of no request, what the other processes' forwards need of this one."""
        if not requests:
            if policy.sharded:
                self.complete(policy, encode, [idle_request(black_picture(self._processor))])
            return []
        prompts = [request.view.encoded for request in requests]
        sampling = self._sampling
        seeds = [seed for request in requests for seed in request.seeds]
        sampler = RowSampler(seeds, sampling.max_tokens, sampling.temperature, sampling.top_p, policy.model.device)
        log_probs: list[list[float]] = []
        with policy.autocast():
            sampled = sample(
                policy.model,
                prompts,
                encode(policy.model, prompts),
                [len(request.seeds) for request in requests],
                self._config,
                self._share_prefix,
                sampler,
                sharded=policy.sharded,
                drop_ended=self._drop_ended,
                log_probs=log_probs if self._scored else None,
            )
        completions = [
            [completion_of_ids(ids, self._tokenizer, self._ends, opening=opened_by(request.text)) for ids in group]
            for request, group in zip(requests, sampled, strict=True)
        ]
        if not log_probs:
            return completions
        by_row = iter(log_probs)
        return [[c._replace(policy_log_probs=next(by_row)[: len(c.ids)]) for c in group] for group in completions]

    def close(self) -> None:
        """Nothing is held."""


def completion_of_ids(
    ids: list[int], tokenizer: Tokenizer, ends: Sequence[int], log_probs: list[float] | None = None, opening: str = ""
) -> Completion:
    """Sampled tokens as a completion, read behind what the prompt opened (`text.opened_by`)."""
    text = opening + tokenizer.decode(ids, skip_special_tokens=True)
    return Completion(ids, text, not ids or ids[-1] not in ends, log_probs)


def idle_request(encoded: EncodedPrompt) -> RolloutRequest:
    """One completion of a stand-in prompt, for a process that has none to make while the others do."""
    nothing = Clip(np.zeros((1, 1, 1, 3), np.uint8), [0], 0.0, 0.0, 0.0)
    return RolloutRequest("", "image", View("idle", False, [0], encoded, nothing), [0])
