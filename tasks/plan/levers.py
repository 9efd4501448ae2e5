"""What makes a training stage fit: single changes of its parameters or launch, tried in order of what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tasks.core.sizing.memory import GIB
from tasks.core.sizing.shapes import Model
from tasks.params import Params
from tasks.plan.machine import Launched, Machine
from tasks.plan.needs import Need, grpo_need, sft_need

MOST_GPUS = 64
Needing = Callable[[Model, Params, Launched, Machine], Need]
OWN_SAMPLING = {"rollout_engine": "transformers", "rollout_sleep": None}
"""The policy samples for itself."""
NEEDS: dict[str, Needing] = {"sft": sft_need, "grpo": grpo_need}


class Lever(NamedTuple):
    """A change, and what is needed with it."""

    text: str
    params: Params
    start: Launched


def with_values(params: Params, stage: str, **values: object) -> Params:
    """Parameters with other values in a stage's section."""
    return params.model_copy(update={stage: getattr(params, stage).model_copy(update=values)})


def levers(stage: str, params: Params, start: Launched, machine: Machine) -> Iterator[Lever]:
    """Changes that save memory, those first that change no result."""
    settings = getattr(params, stage)
    if stage == "grpo":
        group = max(settings.group // settings.group_ranks, 1)
        rows = settings.prompts_per_step * group
        if (settings.micro_batch or rows) > group:
            yield _lever(stage, params, start, micro_batch=group)
        if not settings.gradient_checkpointing and not settings.selective_checkpointing:
            yield _lever(stage, params, start, selective_checkpointing=True)
        if settings.rollout_engine == "vllm":
            if settings.rollout_sleep is None and machine.gpus:
                yield _lever(stage, params, start, rollout_sleep=2)
            yield _lever(stage, params, start, **OWN_SAMPLING)
    if not settings.gradient_checkpointing:
        plain = {"gradient_checkpointing": True} | ({"selective_checkpointing": False} if stage == "grpo" else {})
        yield _lever(stage, params, start, **plain)
    if stage == "grpo":
        least = {"gradient_checkpointing": True, "selective_checkpointing": False, "micro_batch": 1}
        yield _lever(stage, params, start, **least)
    elif settings.batch_size > 1:
        yield _lever(stage, params, start, batch_size=1, gradient_checkpointing=True)
    if machine.gpus and not (stage == "grpo" and params.grpo.lora.rank):
        fewest = start.processes + 1 if start.is_sharded else max(start.processes, 2)
        for count in range(fewest, MOST_GPUS + 1):
            text = f"FSDP2 over {count} GPUs (VIDEO_R1_LAUNCH=accelerate:..., num_processes: {count})"
            yield Lever(text, params, Launched(count, True, ""))
    if stage == "grpo" and params.grpo.lora.rank == 0:
        lora = params.grpo.lora.model_copy(update={"rank": 64})
        full = {"gradient_checkpointing": True, "selective_checkpointing": False}
        changed = with_values(params, "grpo", lora=lora, **full, **OWN_SAMPLING, rollout_server=None)
        text = "lora.rank: 64 with gradient_checkpointing, rollout_engine: transformers, one process"
        yield Lever(text, changed, Launched(1, False, "python"))


def _lever(stage: str, params: Params, start: Launched, **values: object) -> Lever:
    words = {name: "null" if value is None else str(value).lower() for name, value in values.items()}
    text = ", ".join(f"{stage}.{name}: {word}" for name, word in words.items())
    return Lever(text, with_values(params, stage, **values), start)


def fits(need: Need, machine: Machine) -> bool:
    """Whether there is as much memory."""
    return need.size_bytes <= machine.card.gib * GIB


def remedy(stage: str, model: Model, params: Params, start: Launched, machine: Machine) -> str:
    """The cheapest change that makes a stage fit, with what it then needs; of FSDP the fewest GPUs."""
    reasons: list[str] = []
    is_sharded = False
    for lever in levers(stage, params, start, machine):
        need = NEEDS[stage](model, lever.params, lever.start, machine)
        if fits(need, machine) and not (lever.start.is_sharded and is_sharded):
            is_sharded = is_sharded or lever.start.is_sharded
            reasons.append(f"{lever.text}: {gib(need.size_bytes)}")
    return "; or ".join(reasons[:3]) or "no single setting makes it fit here: a smaller model, or larger cards"


def gib(size_bytes: float) -> str:
    """A size in words."""
    if size_bytes >= GIB / 10:
        return f"{size_bytes / GIB:,.1f} GiB"
    return f"{size_bytes / 2**20:,.0f} MiB"
