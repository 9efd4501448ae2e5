"""What a run refuses before it begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from tasks.core.backbones import Backbone
from tasks.core.io.errors import StageError
from tasks.params import Grpo, grpo_contradictions


def check_settings(settings: Grpo) -> None:
    """Refuse settings that contradict each other, and a tracker whose package is missing.

    Raises:
        StageError: names the setting.
    """
    for place, problem in grpo_contradictions(settings):
        raise StageError(f"grpo.{place}: {problem}")
    check_trackers(settings.report_to)


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
