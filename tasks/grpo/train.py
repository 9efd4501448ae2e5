"""The training run: settings in TRL's words, resumed from the newest checkpoint of its work folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from trl import GRPOConfig

from tasks.core.io.errors import StageError
from tasks.core.models.visual_tokens import visual_token_ids
from tasks.core.train.callbacks import CurveWriter, show_progress
from tasks.core.train.clips import ClipStore
from tasks.core.train.curve import curve_csv, mean_of_last
from tasks.core.train.runs import newest_checkpoint
from tasks.grpo.data import OnSkip, Prompt, schedule
from tasks.grpo.log import COLUMNS, RolloutLog
from tasks.grpo.trainer import VideoGRPOTrainer
from tasks.params import Grpo

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
    "length",
    "truncated",
    "kl",
)


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

    Raises:
        StageError: settings that contradict each other; the text names them.
    """
    model.model.visual.requires_grad_(settings.train_vision)
    args = arguments(settings, seed, work, visual_token_ids(processor.tokenizer))
    draws = settings.steps * settings.prompts_per_step * args.world_size
    log = RolloutLog(work / "rollouts")
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
        callbacks=[CurveWriter(curve, COLUMNS)],
    )
    show_progress(trainer, ("reward", "accuracy", "accuracy_shuffled", "length", "step_time"))
    start = time.monotonic()
    checkpoint = newest_checkpoint(work)
    if checkpoint is not None:
        print(f"grpo: resuming from {checkpoint}")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    history = trainer.state.log_history
    metrics = {
        **{name: mean_of_last(history, name) for name in SUMMARY},
        "steps": trainer.state.global_step,
        "prompts": draws,
        "seconds": round(time.monotonic() - start, 1),
    }
    return Result(trainer, metrics, curve_csv(history, COLUMNS))


def arguments(settings: Grpo, seed: int, work: Path, never_sampled: list[int]) -> GRPOConfig:
    """The `grpo` section in TRL's words.

    One generation batch per optimizer step: answers are on-policy, and TRL needs no second pass for old
    log-probabilities.
    """
    rows = settings.prompts_per_step * settings.group
    micro = settings.micro_batch or rows
    if rows % micro:
        raise StageError(f"grpo.micro_batch: {micro} does not divide prompts_per_step * group = {rows}")
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
        generation_kwargs={"suppress_tokens": never_sampled},
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.scheduler],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        beta=settings.beta,
        # The published penalty; TRL's default multiplies it by the importance ratio.
        use_bias_correction_kl=False,
        epsilon=settings.epsilon,
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
        report_to="none",
    )
