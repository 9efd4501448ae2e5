"""Work in progress of a training stage: `<root>/<stage>/<key>/`, where the key is a hash of everything that went in.

DVC empties a stage's outputs before it runs, so what a restart needs lives beside them. A stage resumes only from
its own key (`core/io/work.py`); changed data, parameters or code give another key and a fresh start.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tasks.core.models.load import load_model, load_processor, save_model

FINAL = "final"
ARGUMENTS = "training_args.bin"
"""Pickled by the trainer; read by nothing here."""
CHECKPOINT = "checkpoint-"
COMPLETE = "trainer_state.json"
"""The trainer writes it after weights and optimizer state."""


def newest_checkpoint(work: Path) -> Path | None:
    """The complete checkpoint with the highest step; one torn by a crash is passed over."""
    found = [folder for folder in work.glob(f"{CHECKPOINT}*") if (folder / COMPLETE).is_file()]
    return max(found, key=lambda folder: int(folder.name.removeprefix(CHECKPOINT)), default=None)


def publish(trainer: Any, work: Path, out: Path, dtype: str) -> None:
    """Save the trained model and its processor, whole or not at all: in the work folder first, then moved to `out`.

    Every process of a distributed run must call it: sharded weights are gathered. Weights train in float32;
    another `dtype` is what they are stored in.
    """
    final = work / FINAL
    trainer.save_model(str(final))
    if not trainer.is_world_process_zero():
        return
    (final / ARGUMENTS).unlink(missing_ok=True)
    if dtype != "float32":
        save_model(load_model(final, dtype, "cpu"), load_processor(final), final)
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(final, out)


def clear(work: Path) -> None:
    """Remove a finished run's work folder."""
    shutil.rmtree(work, ignore_errors=True)
