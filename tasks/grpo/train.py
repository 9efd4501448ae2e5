"""The training run: settings in TRL's words, resumed from the newest checkpoint of its work folder."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from trl import GRPOConfig

from tasks.core.io.errors import StageError
from tasks.core.train.callbacks import CurveWriter, show_progress
from tasks.core.train.clips import ClipStore
from tasks.core.train.curve import curve_csv, mean_of_last
from tasks.core.train.runs import newest_checkpoint
from tasks.grpo.data import OnSkip, Prompt, schedule
from tasks.grpo.engines import Rollouts, TransformersRollouts, is_sharded
from tasks.grpo.log import COLUMNS, EventWriter, RolloutLog, StepsWriter
from tasks.grpo.stop import StoppedError, StopRequest, StopWhenAsked
from tasks.grpo.trainer import VideoGRPOTrainer
from tasks.params import Grpo, Lora

CHECKPOINTS_KEPT = 2
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
"""transformers' plain `constant` ignores warm-up."""
SUMMARY = (
    "reward",
    "accuracy",
    "accuracy_shuffled",
    "temporal_gap",
    "bonus_rate",
    "format",
    "unparsed",
    "length",
    "truncated",
    "zero_variance",
    "no_signal",
    "kl",
)
STEPS = "steps.jsonl"
"""Every metric of every step, in the work folder."""
TENSORBOARD = "tensorboard"


class Result(NamedTuple):
    """What a run did; `trainer` holds the trained model."""

    trainer: VideoGRPOTrainer
    metrics: dict[str, float | int | None]
    curve: str


def train(
    model: Any,
    processor: Any,
    prompts: Sequence[Prompt],
    *,
    clips: ClipStore,
    settings: Grpo,
    seed: int,
    work: Path,
    curve: Path,
    on_skip: OnSkip,
    stop: StopRequest | None = None,
    callbacks: Sequence[Any] = (),
    events: Path | None = None,
) -> Result:
    """Train `model` in place.

    Args:
        model: Qwen2.5-VL loaded from a folder, float32 weights whatever `settings.dtype`.
        processor: its processor.
        prompts: RL prompts.
        clips: decoded frames.
        settings: the `grpo` section.
        seed: order of prompts, shuffles and rollouts.
        work: folder of checkpoints and rollouts; a complete checkpoint found there is resumed from.
        curve: CSV kept up to date while training.
        on_skip: told of prompts left out.
        stop: takes a request to stop.
        callbacks: further callbacks of the trainer.
        events: folder of TensorBoard's event files; None keeps them in `work`.

    Raises:
        StageError: settings that contradict each other; the text names them.
        StoppedError: the run was asked to stop; a checkpoint holds all steps so far.
    """
    model.model.visual.requires_grad_(settings.train_vision)
    args = arguments(settings, seed, work)
    draws = settings.steps * settings.prompts_per_step * args.world_size // settings.group_ranks
    log = RolloutLog(work / "rollouts")
    asked = StopWhenAsked(stop or StopRequest())
    tracked = [EventWriter(events or work / TENSORBOARD)] if TENSORBOARD in settings.report_to else []
    trainer = VideoGRPOTrainer(
        model=model,
        processor=processor,
        prompts=prompts,
        order=schedule(len(prompts), draws, seed),
        clips=clips,
        settings=settings,
        args=args,
        log=log,
        on_skip=on_skip,
        rollouts=partial(
            rollouts, folder=model.config._name_or_path, settings=settings, rows=args.generation_batch_size
        ),
        peft_config=adapter(settings.lora, settings.train_vision),
        callbacks=[CurveWriter(curve, COLUMNS), StepsWriter(work / STEPS), *tracked, asked, *callbacks],
    )
    check_sharding(settings, sharded=is_sharded(trainer))
    show_progress(trainer, ("reward", "accuracy", "accuracy_shuffled", "length", "step_time"))
    start = time.monotonic()
    checkpoint = newest_checkpoint(work)
    if checkpoint is not None:
        print(f"grpo: resuming from {checkpoint}")
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        trainer.close_rollouts()
    if asked.stopped:
        raise StoppedError(f"stopped after step {trainer.state.global_step} of {settings.steps}; a checkpoint is kept")
    history = trainer.state.log_history
    metrics = {
        **{name: mean_of_last(history, name) for name in SUMMARY},
        "steps": trainer.state.global_step,
        "prompts": draws,
        "seconds": round(time.monotonic() - start, 1),
    }
    if settings.lora.rank:
        trainer.model = trainer.model_wrapped = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    return Result(trainer, metrics, curve_csv(history, COLUMNS))


def arguments(settings: Grpo, seed: int, work: Path) -> GRPOConfig:
    """The `grpo` section in TRL's words.

    One generation batch per optimizer step: answers are on-policy, and TRL needs no second pass for old
    log-probabilities.
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
    return GRPOConfig(
        output_dir=str(work),
        max_steps=settings.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=rows // micro,
        steps_per_generation=rows // micro,
        num_generations=settings.group,
        max_completion_length=settings.sampling.max_tokens,
        temperature=settings.sampling.temperature,
        top_p=settings.sampling.top_p,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.scheduler],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        beta=settings.beta,
        # The published penalty; TRL's default multiplies it by the importance ratio.
        use_bias_correction_kl=False,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        importance_sampling_level=settings.importance_level,
        loss_type=settings.loss_type,
        scale_rewards=settings.scale_rewards,
        gradient_checkpointing=settings.gradient_checkpointing,
        bf16=settings.dtype == "bfloat16",
        # The order of prompts is made once for the whole run (`schedule`).
        shuffle_dataset=False,
        remove_unused_columns=False,
        logging_steps=1,
        save_steps=settings.save_steps,
        save_total_limit=CHECKPOINTS_KEPT,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        # `train` adds TensorBoard itself: the folder of its files is no argument of the trainer's.
        report_to=[name for name in settings.report_to if name != TENSORBOARD] or "none",
    )


def rollouts(tokenizer: Any, ends: Sequence[int], *, folder: str, settings: Grpo, rows: int) -> Rollouts:
    """The engine that `rollout_engine` names.

    Args:
        tokenizer: of the policy.
        ends: tokens that end an answer.
        folder: checkpoint that the policy was loaded from.
        settings: the `grpo` section.
        rows: ordered answers of a step.

    Raises:
        StageError: vLLM with an adapter; or it does not start.
    """
    if settings.rollout_engine == "transformers":
        return TransformersRollouts(settings.sampling, tokenizer, ends, settings.share_prefix, settings.drop_ended)
    if settings.lora.rank:
        raise StageError("grpo.rollout_engine: vllm takes whole weights; with grpo.lora use transformers")
    from tasks.grpo.vllm_rollouts import VllmRollouts

    return VllmRollouts(
        folder,
        settings.sampling,
        tokenizer,
        ends,
        dtype=settings.dtype,
        max_model_len=settings.rollout_max_len,
        max_sequences=2 * rows,
        gpu_memory_utilization=settings.rollout_gpu_share,
        kv_cache_gb=1,
    )


def adapter(lora: Lora, vision: bool) -> Any:
    """PEFT's configuration of an adapter on every projection of the language model, with `vision` also of the encoder.

    None for rank 0.
    """
    if not lora.rank:
        return None
    from peft import LoraConfig

    language = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    encoder = r".*visual\.blocks.*\.(qkv|proj|gate_proj|up_proj|down_proj)"
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=f"{language}|{encoder}" if vision else language,
        task_type="CAUSAL_LM",
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
    if settings.refill or (settings.temporal.enabled and settings.temporal.mode == "logprob"):
        name = "refill" if settings.refill else "temporal.mode"
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
