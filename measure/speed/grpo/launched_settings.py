"""Settings of `--launched`: a profile's, but for what the machine or the measurement wants otherwise."""

from __future__ import annotations

import importlib.util
from typing import Any

from measure.speed.grpo.job import LaunchedJob
from tasks import profile
from tasks.params import Params, parse


def settings_of(job: LaunchedJob) -> tuple[Params, list[str]]:
    """The profile's values with the `grpo` section to be run, and what of the profile is not measured, a line each.

    Raises:
        ProfileError: no such profile.
        ParamsError: a value that cannot be.
    """
    text = profile.text_of(job.profile)
    params = parse(text, profile.find(job.profile))
    settings = params.grpo
    sampling = settings.sampling.model_copy(update={"max_tokens": job.answer})
    changes: dict[str, Any] = {"steps": job.steps, "sampling": sampling, "report_to": [], "refill": 0}
    changes |= {"group": job.group or settings.group, "prompts_per_step": job.prompts or settings.prompts_per_step}
    told = []
    if settings.sampled_by_vllm:  # its engine reads a checkpoint folder, and there is none
        changes |= {"rollout_engine": "transformers", "rollout_server": None, "rollout_sleep": None}
        installed = importlib.util.find_spec("vllm") is not None
        reason = "vLLM starts from a checkpoint folder" if installed else "vLLM is not installed"
        told.append(f"grpo.rollout_engine: transformers in place of {settings.rollout_engine}: {reason}")
    if settings.refill:
        told.append(f"grpo.refill: 0 in place of {settings.refill}, so that every step has as much to do")
    return params.model_copy(update={"grpo": settings.model_copy(update=changes)}), told
