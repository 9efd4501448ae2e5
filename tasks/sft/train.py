"""The training run: TRL's SFTTrainer over in-memory rows, resumed from the newest checkpoint of its work folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from tasks.core.io.errors import StageError
from tasks.core.models.protocols import Model, Processor
from tasks.core.train.callbacks import CurveWriter, show_progress
from tasks.core.train.checkpoints import Sealing, resume_point
from tasks.core.train.curve import curve_csv, mean_of_last
from tasks.core.train.features import FeatureStore, encode_media, encoder_outputs, train_encoder, trains
from tasks.core.train.guards import FiniteSteps, Guards, Limits
from tasks.core.train.padding_free import read
from tasks.core.train.prepare import name_layers
from tasks.core.train.resume import ResumesWeights
from tasks.core.train.sharding import ShardedNumbers, refuse_data_parallel
from tasks.params import Sft
from tasks.sft.data import AnnouncedOrder, Collator, EpochOrder, Example, lengths
from tasks.sft.seen import keep_order

COLUMNS = {
    "step": "step",
    "loss": "loss",
    "mean_token_accuracy": "token_accuracy",
    "entropy": "entropy",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
}
"""Log key -> column of the curve."""
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
"""transformers' plain `constant` ignores warm-up."""
CHECKPOINTS_KEPT = 2


class Result(NamedTuple):
    """Result of a run; `trainer` holds the trained model."""

    trainer: VideoSFTTrainer
    metrics: dict[str, float | int | None]
    curve: str


class VideoSFTTrainer(ShardedNumbers, FiniteSteps, ResumesWeights, SFTTrainer):
    """TRL's trainer, resumed with its weights; a step that is not finite ends the run.

    It announces the next rows to its collator, and may keep features of a frozen vision encoder (`keeps_features`).
    """

    stage = "sft"

    def __init__(self, *, features_gb: float, **options: Any) -> None:
        """Set up; `features_gb` GiB of features are kept, the rest goes to TRL."""
        super().__init__(**options)
        self._store = FeatureStore(features_gb, lasting=True)

    def get_train_dataloader(self) -> Any:
        """TRL's loader, which also announces the rows that come next."""
        loader = super().get_train_dataloader()
        # Several processes share out the batches of an inner sampler of batches.
        batches = getattr(loader.batch_sampler, "batch_sampler", loader.batch_sampler)
        batches.sampler = AnnouncedOrder(
            EpochOrder(batches.sampler, self.args.seed, lambda: int(self.state.epoch), self._keep_order),
            self.data_collator.expect,
            self._train_batch_size,
            self.args.process_index,
            self.args.world_size,
        )
        return loader

    def _keep_order(self, epoch: int, order: list[int]) -> None:
        if self.args.process_index == 0:
            keep_order(Path(self.args.output_dir), epoch, order)

    def compute_loss(self, model: Model, inputs: dict[str, Any], *others: Any, **options: Any) -> Any:
        """TRL's loss, a mean over tokens that have one; a batch's `Media` are encoded first.

        Packed rows are read by `padding_free.read`: TRL's own packing takes no pictures.
        """
        media = inputs.pop("media", None)
        if media is not None:
            encoder = self.accelerator.unwrap_model(model)
            trainable = trains(encoder)
            with torch.set_grad_enabled(trainable), self.accelerator.autocast():
                features = encode_media(encoder, media.prompts, None if trainable else self._store)
            inputs["mm_encoder_outputs"] = encoder_outputs(media.prompts, features)
        reader = partial(read, model) if "row_lengths" in inputs else model
        return super().compute_loss(reader, inputs, *others, **options)


def keeps_features(settings: Sft) -> bool:
    """Whether a medium is encoded once in the run; batches must then hold `Media` in place of pixels."""
    return not settings.train_vision and settings.cache_features_gb > 0


def check_sharding(settings: Sft, *, sharded: bool) -> None:
    """Refuse what sharded weights (FSDP, DeepSpeed ZeRO) cannot do.

    Raises:
        StageError: names the setting, why, and what to set.
    """
    if sharded and keeps_features(settings):
        raise StageError(
            "sft.cache_features_gb: calls the vision encoder outside the model's forward, where sharded weights are "
            "not gathered; set it to 0 under FSDP and DeepSpeed"
        )


def train(
    model: Model,
    processor: Processor,
    rows: Sequence[Example],
    collator: Collator,
    *,
    settings: Sft,
    seed: int,
    work: Path,
    curve: Path,
    visual: Mapping[str, int] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Result:
    """Train `model` in place.

    Args:
        model: float32 weights; the forward computes in `settings.dtype`.
        processor: its processor.
        rows: training rows; `collator` holds the same.
        collator: makes batches of row indices; for packed rows `model` is prepared (`row_packer`).
        settings: the `sft` section.
        seed: order of rows.
        work: folder of checkpoints; a complete one found there is resumed from.
        curve: CSV kept up to date while training.
        visual: tokens of a clip by data type, for `group_by_length`.
        callbacks: further callbacks of the trainer.

    Raises:
        StageError: features are to be kept of sharded weights; or more steps are done than are asked for.
        DivergedError: the loss, the gradient or the weights became not finite, or a guard was told to stop.
    """
    trainer = trainer_of(model, processor, rows, collator, settings=settings, seed=seed, work=work, visual=visual)
    refuse_data_parallel(trainer.args, "sft")
    check_sharding(settings, sharded=trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
    guards = Guards("sft", Limits(**settings.guards.model_dump()))
    for callback in (CurveWriter(curve, COLUMNS), guards, *callbacks, Sealing()):
        trainer.add_callback(callback)
    show_progress(trainer, ("loss", "mean_token_accuracy"))
    checkpoint = resume_point(work, "sft", steps_of(settings, len(rows), trainer.args.world_size)).checkpoint
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    log = trainer.state.log_history
    metrics = {
        "loss": mean_of_last(log, "loss"),
        "token_accuracy": mean_of_last(log, "mean_token_accuracy"),
        "steps": trainer.state.global_step,
        "rows": len(rows),
    }
    return Result(trainer, metrics, curve_csv(log, COLUMNS))


def steps_of(settings: Sft, rows: int, processes: int) -> int:
    """Optimizer steps of a whole run."""
    batches = math.ceil(rows / (settings.batch_size * processes))
    return math.ceil(settings.epochs * math.ceil(batches / settings.gradient_accumulation))


def trainer_of(
    model: Model,
    processor: Processor,
    rows: Sequence[Example],
    collator: Collator,
    *,
    settings: Sft,
    seed: int,
    work: Path,
    visual: Mapping[str, int] | None = None,
) -> VideoSFTTrainer:
    """The trainer that `train` runs. Arguments as there."""
    train_encoder(model, settings.train_vision)
    name_layers(model)
    columns: dict[str, list[int]] = {"index": list(range(len(rows)))}
    if settings.group_by_length:
        columns["length"] = lengths(rows, processor, visual)
    return VideoSFTTrainer(
        features_gb=settings.cache_features_gb,
        model=model,
        args=arguments(settings, seed, work),
        train_dataset=Dataset.from_dict(columns),
        data_collator=collator,
        processing_class=processor,
    )


def arguments(settings: Sft, seed: int, work: Path) -> SFTConfig:
    """The `sft` section as arguments of TRL."""
    return SFTConfig(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.scheduler],
        # transformers reads a number below one as a share of all steps.
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        gradient_checkpointing=settings.gradient_checkpointing,
        train_sampling_strategy="group_by_length" if settings.group_by_length else "random",
        bf16=settings.dtype == "bfloat16",
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=1,
        save_steps=settings.save_steps,
        save_total_limit=CHECKPOINTS_KEPT,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
    )
