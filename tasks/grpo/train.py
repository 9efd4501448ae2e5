"""The training run: sets up the trainer, resumes from the newest checkpoint of the work folder, sums up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tasks.core.backbones import of_model
from tasks.core.models.protocols import Model, Processor
from tasks.core.train.callbacks import CurveWriter, show_progress
from tasks.core.train.checkpoints import Sealing, resume_point
from tasks.core.train.clips import ClipStore
from tasks.core.train.curve import curve_csv, mean_of_last
from tasks.core.train.features import train_encoder
from tasks.core.train.guards import Guards, Limits
from tasks.core.train.prepare import name_layers
from tasks.grpo.checks import check_sharding
from tasks.grpo.data import OnSkip, Prompt, schedule
from tasks.grpo.log import COLUMNS, STEP_TIME, EventWriter, RolloutLog, StepsWriter
from tasks.grpo.settings import TENSORBOARD, adapter, arguments, draws, options_of, rollouts
from tasks.grpo.stop import StoppedError, StopRequest, StopWhenAsked
from tasks.grpo.trainer import VideoGRPOTrainer
from tasks.params import Grpo

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


class Result(NamedTuple):
    """Result of a run; `trainer` holds the trained model."""

    trainer: VideoGRPOTrainer
    metrics: dict[str, float | int | None]
    curve: str


def train(
    model: Model,
    processor: Processor,
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
        model: loaded from a folder, its weights of `settings.weights_dtype`.
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
        DivergedError: the loss, the gradient or the weights became not finite, or a guard was told to stop.
        StoppedError: the run was asked to stop; a checkpoint holds all steps so far.
    """
    asked = StopWhenAsked(stop or StopRequest())
    writers = writers_of(settings, work, curve, events)
    guards = Guards("grpo", Limits(**settings.guards.model_dump()))
    trainer = trainer_of(
        model,
        processor,
        prompts,
        clips=clips,
        settings=settings,
        seed=seed,
        work=work,
        on_skip=on_skip,
        callbacks=[*writers, guards, asked, *callbacks, Sealing()],
    )
    run(trainer, work)
    if asked.stopped:
        raise StoppedError(f"stopped after step {trainer.state.global_step} of {settings.steps}; a checkpoint is kept")
    if settings.lora.rank:
        trainer.model = trainer.model_wrapped = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    counts = {"steps": trainer.state.global_step, "prompts": draws(settings, trainer.args.world_size)}
    return result_of(trainer, counts)


def writers_of(settings: Grpo, work: Path, curve: Path, events: Path | None) -> list[Any]:
    """Callbacks that write the curve, the metrics of every step and, where asked for, TensorBoard's events."""
    writers: list[Any] = [CurveWriter(curve, COLUMNS), StepsWriter(work / STEPS)]
    if TENSORBOARD in settings.report_to:
        writers.append(EventWriter(events or work / TENSORBOARD))
    return writers


def result_of(trainer: VideoGRPOTrainer, counts: dict[str, int]) -> Result:
    """Metrics of a finished run, as means of its last steps, and its curve."""
    history = trainer.state.log_history
    means = {name: mean_of_last(history, name) for name in SUMMARY}
    return Result(trainer, means | counts, curve_csv(history, COLUMNS))


def trainer_of(
    model: Model,
    processor: Processor,
    prompts: Sequence[Prompt],
    *,
    clips: ClipStore,
    settings: Grpo,
    seed: int,
    work: Path,
    on_skip: OnSkip,
    callbacks: Sequence[Any],
) -> VideoGRPOTrainer:
    """The trainer that `train` runs. Arguments as there; `callbacks` are all of them except the progress bar.

    Raises:
        StageError: settings that contradict each other, or that sharded weights cannot do.
    """
    train_encoder(model, settings.train_vision)
    name_layers(model)
    args = arguments(settings, seed, work)
    trainer = VideoGRPOTrainer(
        model=model,
        processor=processor,
        prompts=prompts,
        order=schedule(len(prompts), draws(settings, args.world_size), seed),
        clips=clips,
        options=options_of(settings),
        args=args,
        log=RolloutLog(work / "rollouts"),
        on_skip=on_skip,
        rollouts=partial(
            rollouts, folder=model.config._name_or_path, settings=settings, rows=args.generation_batch_size
        ),
        peft_config=adapter(settings.lora, model, settings.train_vision),
        callbacks=callbacks,
    )
    check_sharding(settings, trainer.accelerator, of_model(model))
    return trainer


def run(trainer: VideoGRPOTrainer, work: Path) -> None:
    """Train from the newest complete checkpoint in `work`; the rollout engine is freed even after an error."""
    show_progress(trainer, ("reward", "accuracy", "accuracy_shuffled", "length", STEP_TIME))
    checkpoint = resume_point(work, "grpo", trainer.args.max_steps).checkpoint
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        trainer.close_rollouts()
