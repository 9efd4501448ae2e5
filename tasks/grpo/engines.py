"""Where rollouts are sampled: `grpo.rollout_engine`.

transformers   the policy itself, in its own process, under any launcher
vllm           an engine beside it that gets the policy's weights before every step (`vllm_rollouts.py`)
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from trl.models import unwrap_model_for_generation

from tasks.core.engine.sampler import RowSampler, generation_settings
from tasks.core.text import opened_by
from tasks.core.train.rows import EncodedPrompt
from tasks.core.video import Clip
from tasks.grpo.data import View
from tasks.grpo.rollout import Answer, sample


class Ask(NamedTuple):
    """A view to answer."""

    text: str
    """Rendered prompt, its placeholder not expanded."""
    data_type: str
    """image or video."""
    view: View
    seeds: list[int]
    """One per answer: its own random stream."""


class Rollouts(Protocol):
    """Samples the answers of a step."""

    def answer(self, trainer: Any, asks: Sequence[Ask]) -> list[list[Answer]]:
        """Answers to every ask under the trainer's present weights; visual special tokens are never sampled."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class TransformersRollouts:
    """`Rollouts` by the policy itself: vision features once per view, keys and values of a prompt once."""

    def __init__(
        self, sampling: Any, processor: Any, ends: Sequence[int], share_prefix: bool, drop_ended: bool = False
    ) -> None:
        """Set up.

        Args:
            sampling: the `grpo.sampling` section.
            processor: of the policy.
            ends: tokens that end an answer.
            share_prefix: see `rollout.sample`.
            drop_ended: see `rollout.sample`.
        """
        self._settings, self._tokenizer, self._ends = sampling, processor.tokenizer, ends
        self._share_prefix, self._drop_ended = share_prefix, drop_ended
        self._config = generation_settings(processor, ends, sampling.max_tokens)

    def answer(self, trainer: Any, asks: Sequence[Ask]) -> list[list[Answer]]:
        """See `Rollouts.answer`."""
        prompts = [ask.view.encoded for ask in asks]
        sampling, device = self._settings, trainer.accelerator.device
        seeds = [seed for ask in asks for seed in ask.seeds]
        sampler = RowSampler(seeds, sampling.max_tokens, sampling.temperature, sampling.top_p, device)
        with (
            unwrap_model_for_generation(
                trainer.model_wrapped,
                trainer.accelerator,
                gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
                generation_kwargs=trainer.generation_kwargs,
                gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
            ) as unwrapped,
            torch.no_grad(),
            trainer.accelerator.autocast(),
            trainer._dist.summon_full_params(trainer.model_wrapped, recurse=False),
        ):
            model = without_adapter_wrapper(unwrapped)
            sharded = is_sharded(trainer)
            if sharded:
                gather_for_encoding(model)
            features = trainer.vision_features(model, prompts)
            copies = [len(ask.seeds) for ask in asks]
            sampled = sample(
                model,
                prompts,
                features,
                copies,
                self._config,
                self._share_prefix,
                sampler,
                sharded=sharded,
                drop_ended=self._drop_ended,
            )
        return [
            [answer_of_ids(ids, self._tokenizer, self._ends, opening=opened_by(ask.text)) for ids in group]
            for ask, group in zip(asks, sampled, strict=True)
        ]

    def close(self) -> None:
        """Nothing is held."""


def answer_of_ids(
    ids: list[int], tokenizer: Any, ends: Sequence[int], logps: list[float] | None = None, opening: str = ""
) -> Answer:
    """Sampled tokens as an answer, read behind what the prompt opened (`text.opened_by`)."""
    text = opening + tokenizer.decode(ids, skip_special_tokens=True)
    return Answer(ids, text, not ids or ids[-1] not in ends, logps)


def without_adapter_wrapper(model: Any) -> Any:
    """The model inside a PEFT wrapper, its adapter layers in place; any other model as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def idle_ask(encoded: EncodedPrompt) -> Ask:
    """One answer to a stand-in prompt, for a process whose own prompt is lost."""
    nothing = Clip(np.zeros((1, 1, 1, 3), np.uint8), [0], 0.0, 0.0, 0.0)
    return Ask("", "image", View("idle", False, [0], encoded, nothing), [0])


def is_sharded(trainer: Any) -> bool:
    """Whether no process holds whole weights: every one must then take part in every forward."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def gather_for_encoding(model: Any) -> None:
    """Have FSDP gather weights for the encoder's methods too; by itself it does so for `forward` alone."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    for name in ("get_image_features", "get_video_features"):
        if name not in vars(model):
            register_fsdp_forward_method(model, name)


def sharded_reference(policy: Any, accelerator: Any) -> Any:
    """The reference model under FSDP2: a copy of the policy as it was loaded, sharded layer by layer as the policy is.

    TRL 1.16's own has weights in the first process of a machine only: it is loaded after the processes have met, when
    transformers leaves zeros in the others (`fsdp_cpu_ram_efficient_loading`), and is sharded so.
    It is also sharded in one piece, so that a forward gathers all of it at once.

    Args:
        policy: unsharded, with its first weights.
        accelerator: the trainer's.
    """
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    return fsdp2_prepare_model(accelerator, deepcopy(policy).requires_grad_(False)).eval()
