"""Checkpoints of a run: a full disk names the one being written; a resumed run has its weights and no step too many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.core.io.atomic import naming_full_disk
from tasks.core.models.load import load_model
from tasks.core.train.checkpoints import PREFIX


class ResumesWeights:
    """Mixin before a transformers `Trainer`: restores a checkpoint's weights through the model's own loader.

    transformers 5.19 writes checkpoints under the published parameter names but reads them back under the module's, so
    that every weight counts as missing: the run warns, goes on from the weights it started with and pairs them with the
    checkpoint's optimizer state.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the weights of a checkpoint folder; the trainer itself loads sharded weights and adapters.

        Their formats have names that transformers reads back.
        """
        trainer: Any = self
        target = trainer.accelerator.unwrap_model(model if model is not None else trainer.model)
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or hasattr(target, "peft_config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        target.load_state_dict(load_model(resume_from_checkpoint, "float32", "cpu").state_dict())

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        """Run an epoch, unless all steps are done.

        transformers looks at the number of steps only after one: a run that ends within an epoch, resumed at its last
        checkpoint, would take a step more than it was asked for.
        """
        trainer: Any = self
        if trainer.state.global_step >= trainer.state.max_steps:
            trainer.control.should_training_stop = True
            return
        super()._run_epoch(*arguments, **named)  # type: ignore[misc]

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        """Save a checkpoint as the trainer does."""
        trainer: Any = self
        with naming_full_disk(Path(trainer.args.output_dir) / f"{PREFIX}{trainer.state.global_step}"):
            super()._save_checkpoint(*arguments, **named)  # type: ignore[misc]
