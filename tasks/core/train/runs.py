"""Work in progress of a training stage: `<root>/<stage>/<key>/`, where the key is a hash of everything that went in.

DVC empties a stage's outputs before it runs, so what a restart needs lives beside them. A stage resumes only from
its own key; changed data, parameters or code give another key and a fresh start.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.core.models.load import load_model, load_processor, save_model

FINAL = "final"
ARGUMENTS = "training_args.bin"
"""Pickled by the trainer; read by nothing here."""
CHECKPOINT = "checkpoint-"
COMPLETE = "trainer_state.json"
"""The trainer writes it after weights and optimizer state."""
KEY_LENGTH = 16


def work_key(params: Any, inputs: Iterable[Path]) -> str:
    """Hash of JSON-able parameters and of the inputs' names and contents.

    A folder counts with every file below it except caches and hidden files.

    Raises:
        FileNotFoundError: an input does not exist.
    """
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode())
    for path in inputs:
        for file in _files(path):
            with file.open("rb") as stream:
                digest.update(
                    f"{file.relative_to(path.parent)}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode()
                )
    return digest.hexdigest()[:KEY_LENGTH]


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


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    kept = [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return sorted(file for file in kept if not any(part.startswith(".") for part in file.relative_to(path).parts))
