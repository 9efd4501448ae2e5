"""Memory and disk of each stage, by the arithmetic of `core/sizing`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tasks.core.sizing.memory import (
    CONTEXT_BYTES,
    GIB,
    HALF,
    WHOLE,
    Checkpointing,
    Part,
    Pass,
    Training,
    activation_parts,
    adapter_parameters,
    cache_bytes,
    checkpoint_bytes,
    host_parts,
    state_parts,
    total,
)
from tasks.core.sizing.shapes import Model
from tasks.params import Grpo, Params, Sft, Video
from tasks.plan.machine import Launched, Machine

TEXT_TOKENS = {"video_r1": 280, "brief": 60}
"""Tokens of a prompt beside its clip, by template."""
CHECKPOINTS = 3
"""Two are kept, and a third is written before the first goes."""
TEMPORAL = 2
"""Frames of a temporal patch."""


class Need(NamedTuple):
    """A sum, and what it is held against."""

    stage: str
    where: str
    """`GPU`, `host` or `disk`."""
    parts: tuple[Part, ...]
    size_bytes: float
    """With the allocator's slack."""


def visual_tokens(model: Model, video: Video, max_pixels: int | None = None, frames: int | None = None) -> int:
    """Tokens of the longest clip."""
    return -(-(frames or video.frames) // TEMPORAL) * frame_tokens(model, video, max_pixels)


def frame_tokens(model: Model, video: Video, max_pixels: int | None = None) -> int:
    """Tokens of a temporal patch."""
    return max((max_pixels or video.max_pixels) // model.side**2, 1)


def text_tokens(params: Params) -> int:
    """Tokens of a question beside its clip."""
    return TEXT_TOKENS[params.prompt.template]


def checkpointing(settings: Sft | Grpo) -> Checkpointing:
    """Which activations are computed again."""
    if settings.gradient_checkpointing:
        return "full"
    return "selective" if getattr(settings, "selective_checkpointing", False) else "none"


def training(model: Model, settings: Sft | Grpo, start: Launched) -> Training:
    """How a stage trains."""
    rank = settings.lora.rank if isinstance(settings, Grpo) else 0
    whole = model.parameters if settings.train_vision else model.parameters - model.vision
    return Training(
        processes=start.processes,
        is_sharded=start.is_sharded,
        trained=0 if rank else whole,
        adapter=adapter_parameters(model.shape, rank, with_vision=settings.train_vision) if rank else 0,
        has_reference=isinstance(settings, Grpo) and settings.beta > 0 and not rank,
        is_half=settings.dtype == "bfloat16",
        checkpointing=checkpointing(settings),
    )


def grpo_pass(model: Model, params: Params) -> Pass:
    """A micro-batch at its longest: whole prompts in packed rows, or row by row."""
    settings = params.grpo
    clip, longest = visual_tokens(model, params.video), settings.sampling.max_tokens
    prompt = clip + text_tokens(params)
    rows = settings.prompts_per_step * settings.group // settings.group_ranks
    rows = settings.micro_batch or rows
    prompts = -(-rows // max(settings.group // settings.group_ranks, 1)) if settings.share_prefix_update else rows
    encoded = prompts if settings.encode_once else rows
    views = 1 if settings.objective.asks().contrast is None else 2
    return Pass(views * (prompts * prompt + rows * (longest - 1)), views * encoded * clip, views * rows * longest)


def sft_pass(model: Model, params: Params) -> Pass:
    """A batch at its longest; its loss reads the logits of every token."""
    clip = visual_tokens(model, params.video)
    row = clip + text_tokens(params) + params.annotate.sampling.max_tokens
    return Pass(params.sft.batch_size * row, params.sft.batch_size * clip, params.sft.batch_size * row)


def rollout_bytes(model: Model, params: Params, width: int) -> int:
    """Keys and values of a step's completions at their longest, each with its prompt."""
    settings = params.grpo
    rows = (settings.group + settings.objective.asks().completions) * settings.prompts_per_step // settings.group_ranks
    length = visual_tokens(model, params.video) + text_tokens(params) + settings.sampling.max_tokens
    return cache_bytes(model.shape, rows * length, width)


def sft_need(model: Model, params: Params, start: Launched, machine: Machine) -> Need:
    """Of a GPU in SFT; without one of the machine."""
    how = training(model, params.sft, start)
    parts = [*state_parts(model, how), *activation_parts(model.shape, sft_pass(model, params), how)]
    return _need("sft", parts, machine)


def grpo_need(model: Model, params: Params, start: Launched, machine: Machine) -> Need:
    """Of a GPU in GRPO: sampling and updating take turns; an engine beside the policy keeps its share or sleeps.

    A server's GPUs are none of these.
    """
    how = training(model, params.grpo, start)
    update = activation_parts(model.shape, grpo_pass(model, params), how)
    parts = state_parts(model, how)
    if params.grpo.rollout_engine == "vllm":
        engine = Part("vLLM (rollout_gpu_share)", params.grpo.rollout_gpu_share * machine.card.gib * GIB)
        trained = _need("grpo", [*parts, *update], machine)
        if params.grpo.rollout_sleep is None:
            return _beside(trained, engine)
        return max(trained, _beside(_need("grpo", parts, machine), engine), key=lambda need: need.size_bytes)
    if params.grpo.rollout_engine == "vllm_server":
        return _need("grpo", [*parts, *update], machine)
    sampling = [Part("keys and values of the rollouts", rollout_bytes(model, params, how.width))]
    return _need("grpo", [*parts, *max(update, sampling, key=total)], machine)


def _beside(need: Need, engine: Part) -> Need:
    return need._replace(parts=(*need.parts, engine), size_bytes=need.size_bytes + engine.size_bytes)


def _need(stage: str, parts: list[Part], machine: Machine) -> Need:
    on_gpu = machine.gpus > 0
    return Need(stage, "GPU" if on_gpu else "host", tuple(parts), total(parts, gpu=on_gpu))


def host_need(stage: str, model: Model, params: Params, start: Launched) -> Need:
    """Main memory in a training stage on GPUs."""
    settings: Sft | Grpo = params.sft if stage == "sft" else params.grpo
    how = training(model, settings, start)._replace(processes=start.on_each)
    caches = settings.frame_cache_gb + settings.cache_features_gb
    parts = host_parts(model, how, caches_gib=caches)
    if isinstance(settings, Grpo) and settings.rollout_sleep == 1:
        parts.append(Part("weights of sleeping engines", start.on_each * HALF * model.parameters))
    return Need(stage, "host", tuple(parts), sum(part.size_bytes for part in parts))


def engine_need(stage: str, model: Model, params: Params, machine: Machine) -> Need:
    """Of a GPU in annotate and benchmark: weights, and keys and values of at least one completion of full length."""
    engine = params.engine
    width = HALF if engine.dtype in ("bfloat16", "auto") else WHOLE
    spread = engine.tensor_parallel if machine.gpus and engine.backend == "vllm" else 1
    parts = (
        Part("weights", width * model.parameters / spread),
        Part("one completion of max_model_len", cache_bytes(model.shape, engine.max_model_len, width) / spread),
        Part("the encoder and a step of prompts", 2 * GIB if machine.gpus else 0.0),
    )
    size = sum(part.size_bytes for part in parts) + (CONTEXT_BYTES if machine.gpus else 0)
    return Need(stage, "GPU" if machine.gpus else "host", parts, size)


def disk_parts(params: Params, models: Mapping[str, Model], start: Launched, clips: int | None) -> Iterator[Part]:
    """What a run writes: models (and again in DVC's cache, where it copies), checkpoints, decoded frames.

    Args:
        params: the whole file.
        models: those of the training stages that train, by stage.
        start: how they are launched.
        clips: media of all tables; None: unknown, the cache's limit is taken.
    """
    sections: dict[str, Sft | Grpo] = {"sft": params.sft, "grpo": params.grpo}
    trained = [(name, models[name], section) for name, section in sections.items() if name in models]
    for name, model, settings in trained:
        width = HALF if settings.dtype == "bfloat16" else WHOLE
        yield Part(f"models/{name}, twice: project and DVC's cache", 2 * width * model.parameters)
    written = [
        CHECKPOINTS * checkpoint_bytes(model, training(model, settings, start))
        + (WHOLE + HALF) * model.parameters  # the trained model, and as it is stored
        for _, model, settings in trained
    ]
    yield Part(f"checkpoints of the larger training, {CHECKPOINTS} at a time, and its model", max(written, default=0))
    limit = params.video.disk_cache_gb * GIB
    frames = params.video.frames * params.video.max_pixels * 3
    yield Part("decoded frames (.cache/frames)", limit if clips is None else min(limit, clips * frames))
    yield Part("tables, completions, logs, reports", 5e9 if clips is None or clips > 10_000 else 1e8)
