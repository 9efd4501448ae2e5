"""What cannot work, each in a line with its number and what would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.core.backbones import backbone_of
from tasks.core.io.errors import StageError
from tasks.core.models.errors import ModelError
from tasks.core.models.load import backbone_in, is_endpoint
from tasks.core.sizing.memory import GIB, HALF
from tasks.core.sizing.shapes import PUBLISHED, Model
from tasks.grpo.checks import check_settings, refuse_when_sharded
from tasks.params import Engine, Params
from tasks.plan.levers import fits, gib, remedy, with_values
from tasks.plan.machine import Launched, Machine
from tasks.plan.needs import Need, engine_need, rollout_bytes, text_tokens, visual_tokens

SPREAD_BY = ("FSDP", "MULTI_GPU", "NO")
"""accelerate's `distributed_type` that the training stages were tried with."""
SPREADS = (1, 2, 4, 8, 16)
"""GPUs that an engine may be spread over."""


def refusals_of_launch(start: Launched, machine: Machine) -> Iterator[str]:
    """Of how the training stages are started."""
    if start.on_each > max(machine.gpus, 1) and machine.gpus:
        yield (
            f"launch: {start.text} starts {start.on_each} processes on {machine.gpus} GPU(s); set num_processes to "
            f"{machine.gpus}, or take a machine of {start.on_each}"
        )
    if (config := start.configuration) is not None:
        if config.kind not in SPREAD_BY:
            yield (
                f"launch: {start.text}: distributed_type {config.kind}; weights are sharded by FSDP, or kept whole by "
                "MULTI_GPU"
            )
        elif config.kind == "FSDP" and config.fsdp_version != 2:
            yield f"launch: {start.text}: FSDP version 2 is wanted, fsdp_config: {{fsdp_version: 2}}"
    if start.on_each == 1 and machine.gpus > 1 and not start.text.startswith("srun"):
        yield (
            f"launch: one process would see {machine.gpus} GPUs, which training refuses; "
            f"VIDEO_R1_LAUNCH=accelerate:profiles/accelerate/fsdp_4gpu.yaml (or fsdp_8gpu) shards the weights, "
            f"torchrun:{machine.gpus} keeps them whole, CUDA_VISIBLE_DEVICES=0 shows one"
        )


def refusals_of_settings(params: Params, start: Launched, machine: Machine) -> Iterator[str]:
    """Of parameters that contradict each other, or the machine."""
    try:
        check_settings(params.grpo)
        if start.is_sharded:
            refuse_when_sharded(params.grpo, backbone_of(model_type(params)))
    except StageError as error:
        yield str(error)
    if start.processes % params.grpo.group_ranks:
        yield f"grpo.group_ranks: {params.grpo.group_ranks} does not divide {start.processes} processes"
    if params.grpo.rollout_sleep is not None and not machine.gpus:
        yield f"grpo.rollout_sleep: {params.grpo.rollout_sleep}; vLLM sleeps on a GPU only: set it to null"
    engine = params.engine
    wanted = engine.tensor_parallel * engine.data_parallel
    is_here = engine.data_parallel_backend == "mp"  # a cluster's GPUs are not known here
    if is_here and machine.gpus and engine.backend == "vllm" and wanted > machine.gpus:
        yield (
            f"engine: tensor_parallel {engine.tensor_parallel} x data_parallel {engine.data_parallel} wants {wanted} "
            f"GPUs of {machine.gpus}; {_fewer(engine, machine.gpus)}"
        )


def _fewer(engine: Engine, gpus: int) -> str:
    """What brings the engines down to so many GPUs: fewer of them, else one over fewer."""
    if engine.tensor_parallel <= gpus:
        return f"set engine.data_parallel to {gpus // engine.tensor_parallel}"
    alone = "" if engine.data_parallel == 1 else " and engine.data_parallel to 1"
    return f"set engine.tensor_parallel to {max(count for count in SPREADS if count <= gpus)}{alone}"


def model_type(params: Params) -> str:
    """Family of the policy, as far as its folder tells; else that of the published run."""
    path = params.policy()
    try:
        return backbone_in(str(path)).model_types[0]
    except ModelError:
        return PUBLISHED.get(Path(str(path)).name.lower(), PUBLISHED["video-r1-7b"]).model_type


def refusals_of_training(need: Need, model: Model, params: Params, start: Launched, machine: Machine) -> Iterator[str]:
    """Of a training stage that needs more memory than a GPU, or without one the machine, has."""
    if not fits(need, machine):
        there = f"{gib(machine.card.gib * GIB)} of {machine.card.name}"
        way = remedy(need.stage, model, params, start, machine)
        yield f"{need.stage}: {gib(need.size_bytes)} of memory, there are {there}; {way}"


def refusals_of_host(need: Need, machine: Machine) -> Iterator[str]:
    """Of a training stage that needs more main memory beside its GPUs than there is."""
    if machine.host_bytes is not None and need.size_bytes > machine.host_bytes:
        yield (
            f"{need.stage}: {gib(need.size_bytes)} of main memory, there are {gib(machine.host_bytes)}; lower "
            f"{need.stage}.frame_cache_gb, or shard the weights, which one process then loads for all"
        )


def refusals_of_engine(need: Need, model: Model, params: Params, machine: Machine) -> Iterator[str]:
    """Of an engine that its model's attention heads cannot be spread over, or whose share of a GPU is too small.

    The share must hold its weights and one completion.
    """
    heads, spread = model.shape.heads, params.engine.tensor_parallel
    if machine.gpus and params.engine.backend == "vllm" and heads % spread:
        yield f"{need.stage}: engine.tensor_parallel {spread} does not divide the {heads} heads of its model"
    if need.size_bytes <= usable(params, machine):
        return
    spreads = [count for count in SPREADS if heads % count == 0] if machine.gpus else []
    fitting = [count for count in spreads if _on(count, need, model, params, machine) <= usable(params, machine)]
    way = f"engine.tensor_parallel: {fitting[0]}" if fitting else "a smaller model, or more memory"
    if fitting and fitting[0] > machine.gpus:
        way += ", on as many GPUs"
    yield (
        f"{need.stage}: {gib(need.size_bytes)} of {'each GPU' if machine.gpus else 'memory'}, an engine may take "
        f"{gib(usable(params, machine))}; {way}"
    )


def _on(count: int, need: Need, model: Model, params: Params, machine: Machine) -> float:
    """What an engine spread over so many GPUs takes of each."""
    return engine_need(need.stage, model, with_values(params, "engine", tensor_parallel=count), machine).size_bytes


def usable(params: Params, machine: Machine) -> float:
    """Memory of a GPU that an engine may take; of main memory all."""
    share = params.engine.gpu_memory_utilization if machine.gpus and params.engine.backend == "vllm" else 1.0
    return machine.card.gib * GIB * share


def refusal_of_rollout_engine(model: Model, params: Params, machine: Machine) -> Iterator[str]:
    """Of a share of the GPU that does not hold vLLM's copy of the policy beside a step's completions."""
    if params.grpo.rollout_engine != "vllm" or not machine.gpus:
        return
    needed = HALF * model.parameters + rollout_bytes(model, params, HALF) + GIB
    share = params.grpo.rollout_gpu_share * machine.card.gib * GIB
    if needed > share:
        yield (
            f"grpo.rollout_gpu_share: {params.grpo.rollout_gpu_share} of {machine.card.gib:g} GiB are {gib(share)}, "
            f"vLLM needs {gib(needed)}; set it to {needed / (machine.card.gib * GIB):.2f} or more"
        )


def refusals_of_lengths(model: Model, params: Params) -> Iterator[str]:
    """Of engines that the longest prompt with its completion is too long for."""
    text, section = text_tokens(params), params.benchmark
    longest = visual_tokens(model, params.video) + text + params.grpo.sampling.max_tokens
    if params.grpo.sampled_by_vllm and longest > params.grpo.rollout_max_len:
        yield f"grpo.rollout_max_len: {params.grpo.rollout_max_len}; the longest clips want {longest} tokens"
    asked = [visual_tokens(model, params.video) + max(params.annotate.sampling.max_tokens, section.sampling.max_tokens)]
    if section.suites:
        clip = visual_tokens(model, params.video, section.max_pixels, max(section.frames))
        asked.append(clip + max(section.sampling.max_tokens, section.official_max_tokens or 0))
    if max(asked) + text > params.engine.max_model_len:
        yield f"engine.max_model_len: {params.engine.max_model_len}; the longest clips want {max(asked) + text} tokens"


def refusals_of_disk(size_bytes: float, machine: Machine, params: Params) -> Iterator[str]:
    """Of a disk that is too small."""
    if machine.free_bytes is not None and size_bytes > machine.free_bytes:
        yield (
            f"disk: {gib(size_bytes)} will be written, {gib(machine.free_bytes)} are free; video.disk_cache_gb "
            f"({params.video.disk_cache_gb:g}) is the first to lower, then `python -m tasks.work clear`"
        )


def refusal_of_endpoint(params: Params) -> Iterator[str]:
    """Of a policy that is served elsewhere and cannot be trained."""
    path = params.policy()
    if is_endpoint(path):
        yield f"{path}: an endpoint cannot be trained; a checkpoint folder is wanted"
