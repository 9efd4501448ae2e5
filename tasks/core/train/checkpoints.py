"""Only complete checkpoints are used: a marker file that lists all files is written last.

    checkpoint-40/   model, optimizer, scheduler, random states, trainer state     written by the trainer
    checkpoint-40/complete.json    every file's size and SHA-256                   written last, here

A checkpoint without its marker was cut off by a crash; one whose files differ from the marker was damaged later: in
both cases the one before is used. All processes of a run write below one folder that all of them see.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from tasks.core.io.atomic import sync, write_json
from tasks.core.io.digests import file_digest
from tasks.core.io.errors import StageError

PREFIX = "checkpoint-"
DAMAGED = "damaged-"
MARKER = "complete.json"


class ResumePoint(NamedTuple):
    """The checkpoint that a run begins with."""

    checkpoint: Path | None
    """None: at the beginning."""
    step: int
    """Optimizer steps done."""


def seal(checkpoint: Path) -> None:
    """Force a checkpoint's files to the disk and write its marker."""
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.name != MARKER)
    for path in [*files, *{file.parent for file in files}]:
        sync(path)
    sizes = {str(file.relative_to(checkpoint)): [file.stat().st_size, file_digest(file)] for file in files}
    write_json(checkpoint / MARKER, sizes)


def flaw(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint in one line; None when it is complete. Sizes are checked before contents."""
    try:
        listed = json.loads((checkpoint / MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return f"{MARKER} is missing: it was not written to its end"
    except OSError as error:
        return f"{MARKER} cannot be read: {error.strerror}"
    except ValueError:
        return f"{MARKER} is not JSON"
    if not isinstance(listed, dict) or not listed or not all(map(_is_entry, listed.values())):
        return f"{MARKER} is no list of files"
    for name, (size, _) in listed.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, {size} were written"
    for name, (_, digest) in listed.items():
        if file_digest(checkpoint / name) != digest:
            return f"{name} has other contents than were written"
    return None


def _is_entry(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def step_of(checkpoint: Path) -> int:
    """Optimizer steps that a checkpoint holds, by its name."""
    return int(checkpoint.name.removeprefix(PREFIX))


def checkpoints(work: Path) -> list[Path]:
    """Checkpoints of a work folder, complete or not, the newest first."""
    named = [folder for folder in work.glob(f"{PREFIX}*") if folder.name.removeprefix(PREFIX).isdigit()]
    return sorted(named, key=step_of, reverse=True)


def newest_checkpoint(work: Path) -> Path | None:
    """The newest complete checkpoint; others are reported on stderr and renamed to `damaged-...`."""
    for checkpoint in checkpoints(work):
        reason = flaw(checkpoint)
        if reason is None:
            return checkpoint
        print(f"{checkpoint}: passed over: {reason}", file=sys.stderr)
        aside = checkpoint.with_name(DAMAGED + checkpoint.name)
        if not aside.exists():
            checkpoint.rename(aside)
    return None


def resume_point(work: Path, stage: str, steps: int) -> ResumePoint:
    """Where a run of `steps` optimizer steps begins; all processes must call it, the first one reads the folder.

    Raises:
        StageError: the newest checkpoint has more steps than the run is to have.
    """
    newest: list[Any] = [newest_checkpoint(work) if _first_process() else None]
    checkpoint: Path | None = broadcast_object_list(newest)[0]
    if checkpoint is None:
        return ResumePoint(None, 0)
    done = step_of(checkpoint)
    if done > steps:
        raise StageError(
            f"{checkpoint}: {done} steps are done, more than the {steps} asked for; ask for at least as many, or "
            f"remove this work: python -m tasks.work clear {stage}"
        )
    if _first_process():
        print(f"{stage}: resuming from {checkpoint}: step {done} of {steps} is done")
    return ResumePoint(checkpoint, done)


class Sealing(TrainerCallback):
    """Seals every checkpoint when all processes have written their part."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait for the others, then seal in the first process."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"{PREFIX}{state.global_step}")


def _first_process() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
