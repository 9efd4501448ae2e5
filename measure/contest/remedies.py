"""Other RL rows in place of another objective: what a user can do to the data, at the same operations.

kept      the rows as they are
pairs     half of the moving figures, each with its clip played backwards and the answer that it then has
          (`tasks.counterfactual`): what gives the forward clip's answer away misleads on the other one
twice     the same half of the moving figures, each as it is two times: the placebo of pairs, as many rows of as
          few clips
audited   without the rows that the start itself answers from one frame, as `grpo.rows` drops by the tags of
          `tasks.audit`; the answers asked for that count as the run's operations
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from measure.contest.evaluate import Policy, answers
from measure.runs import lock
from tasks.core.schemas.parsing import parse_record
from tasks.core.schemas.records import Record
from tasks.core.video import open_clip
from tasks.counterfactual.__main__ import RECORDS, REFUSED, make
from tasks.grpo.objectives.perturbations import OneFrame
from tasks.params import Video

Remedy = Callable[[Policy, Sequence[Record], Path], list[Record]]
"""(start, RL rows, folder that is theirs alone) -> RL rows."""
MOVING = "world/move"
"""Data source of rows with a moving figure."""
READ = Video(frames=16, fps=4.0, min_pixels=112 * 112, max_pixels=112 * 112)
"""Clips of the mini world whole."""


def kept(_: Policy, rows: Sequence[Record], __: Path) -> list[Record]:
    """The rows."""
    return list(rows)


def pairs(_: Policy, rows: Sequence[Record], folder: Path) -> list[Record]:
    """As many rows: the first half of the moving figures, each forward and reversed, and all others.

    Raises:
        RuntimeError: a row of which no pair was made; names the file with the reasons.
    """
    half, others = halved(rows)
    with lock(folder.parent / f"{folder.name}.lock", wait=True):
        if not (folder / RECORDS).exists():
            make(half, ["reversed"], partial(open_clip, **READ.opening()), folder)
    raw = json.loads((folder / RECORDS).read_text())
    if len(raw) != 2 * len(half):
        raise RuntimeError(f"{folder}: {len(raw)} rows of {len(half)} pairs; {folder / REFUSED} has the reasons")
    made = [parse_record(row, f"{folder / RECORDS} row {number}") for number, row in enumerate(raw)]
    made = [dataclasses.replace(record, path=str(folder / record.path)) for record in made]
    return [*made, *others]


def is_turned(record: Record) -> bool:
    """Whether a row of `pairs` has the reversed clip; its forward row stands right before it."""
    return record.path.endswith("-reversed.mp4")


def twice(_: Policy, rows: Sequence[Record], __: Path) -> list[Record]:
    """As many rows: the rows that `pairs` takes, each as it is two times, and all others."""
    half, others = halved(rows)
    return [*(record for record in half for _ in range(2)), *others]


def halved(rows: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """The first half of the moving figures, and what does not move."""
    moving = [record for record in rows if record.data_source == MOVING]
    return moving[: len(moving) // 2], [record for record in rows if record.data_source != MOVING]


def audited(policy: Policy, rows: Sequence[Record], _: Path) -> list[Record]:
    """The rows that the policy does not answer right from one frame of their clip."""
    seen = answers(policy, rows, OneFrame())
    return [record for record, result in zip(rows, seen, strict=True) if not result.right]
