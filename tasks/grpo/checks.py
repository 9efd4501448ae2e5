"""What a run refuses before it begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from tasks.core.io.errors import StageError
from tasks.params import Grpo


def check_settings(settings: Grpo) -> None:
    """Refuse settings that contradict each other, and a tracker whose package is missing.

    Raises:
        StageError: names the setting.
    """
    rows, rest = divmod(settings.prompts_per_step * settings.group, settings.group_ranks)
    if rest:
        raise StageError(f"grpo.group_ranks: {settings.group_ranks} does not divide prompts_per_step * group")
    micro = settings.micro_batch or rows
    if rows % micro:
        raise StageError(f"grpo.micro_batch: {micro} does not divide prompts_per_step * group / group_ranks = {rows}")
    check_trackers(settings.report_to)
    if settings.sampling.temperature <= 0:
        raise StageError(
            f"grpo.sampling.temperature: {settings.sampling.temperature}; answers must differ to be compared"
        )


def check_sharding(settings: Grpo, *, sharded: bool) -> None:
    """Refuse what sharded weights (FSDP, DeepSpeed ZeRO) cannot do.

    Raises:
        StageError: names the setting, why, and what to set.
    """
    if not sharded:
        return
    if settings.encode_once:
        raise StageError(
            "grpo.encode_once: calls the vision encoder outside the model's forward, where sharded weights are not "
            "gathered; set it to false under FSDP and DeepSpeed"
        )
    if settings.micro_batch != 1 or settings.prompts_per_step != 1:
        name = "micro_batch" if settings.micro_batch != 1 else "prompts_per_step"
        raise StageError(
            f"grpo.{name}: images and videos in one batch make processes differ in vision passes, and sharded weights "
            "then wait for each other for ever; set it to 1 under FSDP and DeepSpeed"
        )
    if settings.rollout_engine == "vllm":
        raise StageError("grpo.rollout_engine: vllm takes whole weights; under FSDP and DeepSpeed use transformers")
    if settings.lora.rank:
        raise StageError("grpo.lora: merging an adapter wants whole weights; use it without FSDP and DeepSpeed")
    if settings.refill or settings.objective.asks().scored:
        name = "refill" if settings.refill else "objective"
        raise StageError(
            f"grpo.{name}: processes differ in the forwards it takes, and sharded weights then wait for each other for "
            "ever; use it without FSDP and DeepSpeed"
        )


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker whose package is missing.

    Raises:
        StageError: names the tracker and how to get it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise StageError(f"grpo.report_to: {name} is not installed; `uv pip install {name}` or leave it out")
