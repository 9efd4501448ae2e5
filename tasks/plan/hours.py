"""Hours of each stage by arithmetic: operations over a rate, bytes over a bandwidth (`core/sizing/speed.py`)."""

from __future__ import annotations

from typing import NamedTuple

from tasks.core.sizing.flops import Load, forward, operations, packed, recomputed
from tasks.core.sizing.memory import HALF, cache_bytes
from tasks.core.sizing.shapes import Model
from tasks.core.sizing.speed import (
    HOST_SECONDS,
    SYNC_SECONDS,
    decoding_seconds,
    gathering_seconds,
    rate,
)
from tasks.params import Grpo, Params
from tasks.plan.machine import Launched, Machine
from tasks.plan.needs import checkpointing, frame_tokens, text_tokens, visual_tokens

MEAN_SHARE = 0.5
"""Mean length of a completion, of the most that it may have. Assumed."""
LONGEST_SHARE = 0.8
"""Length of the longest of a group, likewise. Assumed."""
READ_SECONDS, PIXEL_SECONDS = 0.1, 1.2e-7
"""Processor time to check and hash a medium, and for a pixel of its sampled frames: clips of ten to twenty seconds, 16
frames of 105,369 pixels, take 0.1 to 0.2 s to decode (reports/perf/decode.md)."""


class Step(NamedTuple):
    """Seconds of a step of GRPO."""

    rollout: float
    scoring: float
    update: float
    sync: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self)


def ingest_hours(media: int, params: Params) -> float:
    """Reading every medium once."""
    pixels = params.video.frames * params.video.max_pixels
    return media * (READ_SECONDS + PIXEL_SECONDS * pixels) / params.ingest.workers / 3600


def row_load(model: Model, params: Params, completion: int, *, all_scored: bool) -> Load:
    """One prompt with its completion."""
    clip = visual_tokens(model, params.video)
    length = clip + text_tokens(params) + completion
    scored = length if all_scored else completion
    return Load(length, length * (length + 1) // 2, clip, frame_tokens(model, params.video), scored)


def sft_hours(model: Model, params: Params, rows: int, start: Launched, machine: Machine) -> float:
    """Forward, backward and what is recomputed, over all rows and epochs."""
    load = row_load(model, params, int(params.annotate.sampling.max_tokens * MEAN_SHARE), all_scored=True)
    work = operations(model.shape, load) + _again(model, load, checkpointing(params.sft))
    return params.sft.epochs * rows * work / (start.processes * rate(model.shape, machine.card)) / 3600


def _again(model: Model, load: Load, kind: str) -> float:
    """Operations of the backward pass that repeat the forward one."""
    if kind == "full":
        return forward(model.shape, load)
    return recomputed(model.shape, load) if kind == "selective" else 0.0


def grpo_step(model: Model, params: Params, start: Launched, machine: Machine) -> Step:
    """A step on every process: its prompts' completions sampled, scored and learned from."""
    settings, card, shape = params.grpo, machine.card, model.shape
    clip, frame = visual_tokens(model, params.video), frame_tokens(model, params.video)
    prompt, mean = clip + text_tokens(params), max(int(settings.sampling.max_tokens * MEAN_SHARE), 2)
    asks = settings.objective.asks()
    share = settings.prompts_per_step / settings.group_ranks
    load = packed(prompt, mean, settings.group, clip, frame)
    if not settings.share_prefix_update:
        alone = row_load(model, params, mean, all_scored=False)
        tokens, pairs, encoded, scored = (settings.group * value for value in (*alone[:3], alone.scored))
        load = Load(tokens, pairs, encoded, frame, scored)
    speed = rate(shape, card)
    update = (operations(shape, load) + _again(model, load, checkpointing(settings))) * share / speed
    if asks.contrast is not None:
        update *= 2
    views = (1 + len(asks.perturbations) if asks.scored else 0) + int(settings.beta > 0)
    if settings.sampled_by_vllm and settings.importance_cap is not None and not asks.scored:
        views += 1
    scoring = views * forward(shape, load) * share / speed
    rows = max(int((settings.group + asks.completions) * share), 1)
    longest = settings.sampling.max_tokens * LONGEST_SHARE
    token = decoding_seconds(model, card, cards=1, rows=rows, context_bytes=cache_bytes(shape, prompt + mean, HALF))
    token += _overhead(model, settings, start, machine)
    read = forward(shape, Load(prompt, prompt * (prompt + 1) // 2, clip, frame, 1)) * 2 * share / speed
    sync = SYNC_SECONDS if settings.sampled_by_vllm else 0.0
    return Step(longest * token + read, scoring, update, sync)


def _overhead(model: Model, settings: Grpo, start: Launched, machine: Machine) -> float:
    """Seconds of a token beside its arithmetic: transformers launches every kernel, and gathers sharded weights."""
    if settings.sampled_by_vllm or not machine.gpus:
        return 0.0
    gathering = gathering_seconds(model, start.processes) if start.is_sharded else 0.0
    return HOST_SECONDS + gathering


def grpo_hours(model: Model, params: Params, start: Launched, machine: Machine) -> float:
    """All steps."""
    return params.grpo.steps * grpo_step(model, params, start, machine).seconds / 3600


def generation_hours(
    model: Model,
    params: Params,
    machine: Machine,
    *,
    requests: int,
    max_tokens: int,
    frames: int | None = None,
    max_pixels: int | None = None,
) -> float:
    """Completions of an engine that works on `engine.batch_size` of them at once; each prompt is read alone."""
    engine, shape, card = params.engine, model.shape, machine.card
    cards = max(min(engine.tensor_parallel * engine.data_parallel, machine.gpus), 1)
    clip = visual_tokens(model, params.video, max_pixels, frames)
    prompt, mean = clip + text_tokens(params), max(int(max_tokens * MEAN_SHARE), 1)
    load = Load(prompt, prompt * (prompt + 1) // 2, clip, frame_tokens(model, params.video, max_pixels), 1)
    read = forward(shape, load) / (cards * rate(shape, card))
    context = cache_bytes(shape, prompt + mean, HALF)
    token = decoding_seconds(model, card, cards=cards, rows=engine.batch_size, context_bytes=context)
    return requests * (read + mean * token / engine.batch_size) / 3600
