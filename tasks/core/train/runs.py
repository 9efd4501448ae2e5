"""Work in progress of a training stage: `<root>/<stage>/<key>/`, where the key is a hash of everything that went in.

DVC empties a stage's outputs before it runs, so what a restart needs lives beside them. A stage resumes only from
its own key (`core/io/work.py`); changed data, parameters or code give another key and a fresh start.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accelerate.utils import get_int_from_env

from tasks.core.io.atomic import naming_full_disk, replace_folder
from tasks.core.io.errors import StageError
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.work import Work, begin_work, listed
from tasks.core.models.load import load_model, load_processor, save_model
from tasks.core.train.repeatable import sum_in_order

FINAL = "final"
ARGUMENTS = "training_args.bin"
"""Pickled by the trainer; not read by this project."""
ROWS_PER_STEP = "rows_per_step"
"""Input of a training stage's key: rows or prompts of an optimizer step, all processes together."""


def begin_training(work: Work) -> Path:
    """Begin or resume a training stage's work: `begin_work`, in the first process of a run only.

    Gradients are from then on added in one order (`repeatable`).

    Raises:
        StageError: with another number of processes a step has other rows: rows would be left out or repeated.
    """
    previous = work.previous
    if previous and previous.names == {ROWS_PER_STEP} and previous.facts.get("processes") != work.facts["processes"]:
        raise StageError(
            f"{work.stage}: {previous.folder} was trained by {previous.facts.get('processes')} processes; "
            f"{work.facts['processes']} processes would change {listed(previous.changes)}. Start as many processes, or "
            f"set the rows of a device so that a step has as many rows; or remove that work and begin anew: "
            f"python -m tasks.work clear {work.stage}"
        )
    if int(os.environ.get("RANK", "0")) == 0:
        begin_work(work)
        if work.before and (asked := work.before.get("length")) != work.facts["length"]:
            print(f"{work.stage}: {asked} -> {work.facts['length']}: goes on, by the schedule of the latter from here")
    sum_in_order()
    return work.folder


def processes() -> int:
    """How many processes train together, by the variables that accelerate reads."""
    return get_int_from_env(["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"], 1)


def publish(trainer: Any, work: Path, out: Path, dtype: str) -> None:
    """Save the trained model and its processor, whole or not at all: in the work folder first, then moved to `out`.

    Every process of a distributed run must call it: sharded weights are gathered. Weights train in float32;
    another `dtype` is what they are stored in.
    """
    final = work / FINAL
    if trainer.is_world_process_zero():
        shutil.rmtree(final, ignore_errors=True)  # what a crash left here
    with naming_full_disk(final):
        trainer.save_model(str(final))
        if not trainer.is_world_process_zero():
            return
        (final / ARGUMENTS).unlink(missing_ok=True)
        if dtype != "float32":
            save_model(load_model(final, dtype, "cpu"), load_processor(final), final)
        replace_folder(final, out)


def refuse_unread(log: Path, problem_ids: Iterable[int], stage: str) -> None:
    """Refuse to publish a model that has learned nothing, for the media of all its rows were left out.

    Args:
        log: rows left out, JSON lines with `problem_id` and `reason`.
        problem_ids: of all rows.
        stage: whose work it is.

    Raises:
        StageError: not one row was read; names the reason of the first.
    """
    reasons = {row["problem_id"]: row["reason"] for row in read_jsonl(log)}
    if reasons and set(problem_ids) <= set(reasons):
        raise StageError(
            f"{stage}: every row was left out, the first: {next(iter(reasons.values()))}; nothing is published. Mend "
            f"the media, then remove this work: python -m tasks.work clear {stage}"
        )


def clear(work: Path) -> None:
    """Remove a finished run's work folder."""
    shutil.rmtree(work, ignore_errors=True)
