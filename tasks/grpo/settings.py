"""The `grpo` section of the parameters as arguments of the trainer, of TRL, of PEFT and of the rollout engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig

from tasks.core.backbones import of_model
from tasks.core.io.errors import StageError
from tasks.core.models.load import backbone_in
from tasks.core.models.protocols import Model, Processor
from tasks.core.train.sharding import refuse_data_parallel
from tasks.grpo.checks import check_settings
from tasks.grpo.engines import Rollouts, TransformersRollouts
from tasks.grpo.forwards import Levers
from tasks.grpo.options import Options
from tasks.grpo.scoring import Rewards
from tasks.params import Grpo, Lora, RolloutServer

CHECKPOINTS_KEPT = 2
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
"""transformers' plain `constant` ignores warm-up."""
TENSORBOARD = "tensorboard"


def options_of(settings: Grpo) -> Options:
    """The `grpo` section as the trainer takes it."""
    levers = Levers(
        encode_once=settings.encode_once,
        cache_features_gb=settings.cache_features_gb,
        share_prefix_update=settings.share_prefix_update,
        varlen_attention=settings.varlen_attention,
        selective_checkpointing=settings.selective_checkpointing,
    )
    return Options(
        rewards_of(settings),
        levers,
        refill=settings.refill,
        skip_zero_advantage=settings.skip_zero_advantage,
        importance_cap=settings.importance_cap,
        dropout=bool(settings.lora.rank and settings.lora.dropout),
    )


def rewards_of(settings: Grpo) -> Rewards:
    """The fields of the `grpo` section that decide the reward of a completion."""
    length = settings.length.model_dump() if settings.length else None
    return Rewards(settings.objective, settings.reward_variant, settings.format_weight, length)


def draws(settings: Grpo, processes: int) -> int:
    """Prompts of a whole run, over all processes."""
    return settings.steps * settings.prompts_per_step * processes // settings.group_ranks


def arguments(settings: Grpo, seed: int, work: Path) -> GRPOConfig:
    """The `grpo` section in TRL's words.

    One generation batch per optimizer step: completions are on-policy, and TRL needs no second pass for old
    log-probabilities.
    """
    check_settings(settings)
    rows = settings.prompts_per_step * settings.group // settings.group_ranks
    micro = settings.micro_batch or rows
    args = GRPOConfig(
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
    refuse_data_parallel(args, "grpo")
    return args


def rollouts(processor: Processor, ends: Sequence[int], *, folder: str, settings: Grpo, rows: int) -> Rollouts:
    """The engine that `rollout_engine` names.

    Args:
        processor: of the policy.
        ends: tokens that end a completion.
        folder: checkpoint that the policy was loaded from.
        settings: the `grpo` section.
        rows: ordered completions of a step.

    Raises:
        StageError: vLLM with an adapter; or it does not start, cannot sleep as it should, or is a server that is not
            there or does not fit.
    """
    # What an adapter drops at random when completions are scored, it keeps when they are sampled.
    scored = settings.objective.asks().scored and not settings.lora.dropout
    ways = settings.share_prefix, settings.drop_ended, scored
    ours = partial(TransformersRollouts, settings.sampling, processor, ends, *ways)
    if settings.rollout_engine == "transformers":
        return ours()
    if settings.lora.rank:
        engine = settings.rollout_engine
        raise StageError(f"grpo.rollout_engine: {engine} takes whole weights; with grpo.lora use transformers")
    if settings.rollout_server is not None:
        return served(processor, ends, folder=folder, settings=settings, server=settings.rollout_server)
    if (reason := backbone_in(folder).serves_video) is not None:
        print(f"grpo: rollouts by transformers in place of vllm: {reason}")
        return ours()
    from tasks.grpo.vllm_rollouts import VllmRollouts

    return VllmRollouts(
        folder,
        settings.sampling,
        processor,
        ends,
        dtype=settings.dtype,
        max_model_len=settings.rollout_max_len,
        max_sequences=2 * rows,
        gpu_memory_utilization=settings.rollout_gpu_share,
        kv_cache_gb=1,
        sleep=settings.rollout_sleep,
    )


def served(
    processor: Processor, ends: Sequence[int], *, folder: str, settings: Grpo, server: RolloutServer
) -> Rollouts:
    """Rollouts by a server. Arguments as of `rollouts`.

    Raises:
        StageError: see there.
    """
    from tasks.grpo.server_protocol import ServerClient
    from tasks.grpo.server_rollouts import ServerRollouts

    return ServerRollouts(
        ServerClient(server.url, server.timeout_seconds),
        folder,
        settings.sampling,
        processor,
        ends,
        dtype=settings.dtype,
        max_len=settings.rollout_max_len,
    )


def adapter(lora: Lora, model: Model, vision: bool) -> Any:
    """PEFT's configuration of an adapter on every projection of the language model, with `vision` also of the encoder.

    None for rank 0.

    Raises:
        StageError: the backbone's pattern matches nothing in the model.
    """
    if not lora.rank:
        return None
    from peft import LoraConfig

    names = of_model(model).names
    patterns = [names.lora_text, *([names.lora_vision] if vision else [])]
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name, _ in model.named_modules()):
            raise StageError(f"grpo.lora: no module of the model matches {pattern}")
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="|".join(patterns),
        task_type="CAUSAL_LM",
    )
