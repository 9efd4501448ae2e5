"""What a run refuses before it begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from tasks.core.backbones import Backbone
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
    if settings.rollout_engine == "vllm" and settings.importance_cap is not None and settings.sampling.top_p < 1:
        raise StageError(
            f"grpo.sampling.top_p: {settings.sampling.top_p}; vLLM tells probabilities before the nucleus is cut, and "
            "importance weights want those sampled from: set it to 1, or grpo.importance_cap to null"
        )
    if settings.rollout_sleep is not None and settings.rollout_engine != "vllm":
        raise StageError(
            f"grpo.rollout_sleep: {settings.rollout_sleep}; only an engine beside the policy sleeps: set it to null, "
            "or grpo.rollout_engine to vllm"
        )
    if settings.sampling.temperature <= 0:
        raise StageError(
            f"grpo.sampling.temperature: {settings.sampling.temperature}; answers must differ to be compared"
        )


def check_sharding(settings: Grpo, accelerator: Any, backbone: Backbone) -> None:
    """Refuse what sharded weights cannot do.

    Raises:
        StageError: names the setting, why, and what to set.
    """
    from tasks.core.train.sharding import is_sharded  # imports torch, which nothing else here wants

    if not is_sharded(accelerator):
        return
    if getattr(accelerator.state, "deepspeed_plugin", None) is not None:
        raise StageError("grpo: weights are sharded by FSDP2 (profiles/accelerate/fsdp_*.yaml), not by DeepSpeed")
    refuse_when_sharded(settings, backbone)


def refuse_when_sharded(settings: Grpo, backbone: Backbone) -> None:
    """Refuse what FSDP2 cannot do.

    Raises:
        StageError: names the setting, why, and what to set.
    """
    if settings.lora.rank:
        raise StageError("grpo.lora: merging an adapter wants whole weights; use it without FSDP")
    if not backbone.one_pass:
        raise StageError(
            f"{backbone.model_types[0]}: its encoder takes a pass for each kind and length of medium, so processes "
            "would differ in passes and wait for each other for ever; use it without FSDP"
        )


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker whose package is missing.

    Raises:
        StageError: names the tracker and how to get it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise StageError(f"grpo.report_to: {name} is not installed; `uv pip install {name}` or leave it out")
