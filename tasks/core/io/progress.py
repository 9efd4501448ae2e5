"""How far a stage is, in a small file that whoever started it may read while it runs.

    stage  --->  .cache/progress/<stage>.json  --->  flow, which shows it

Only where DVC started the stage, and in the first of several processes. The file is no output: git and DVC ignore it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

FOLDER = Path(".cache/progress")
EVERY_SECONDS = 1.0
_noted_at: dict[str, float] = {}
"""Stage -> when its file was written last, by `time.monotonic`."""


class Progress(NamedTuple):
    """How far a stage is."""

    done: int
    total: int
    unit: str
    seconds_left: float | None
    """None where nothing tells yet."""
    figures: str = ""
    """Its latest numbers, e.g. `loss=0.52`."""

    def told(self) -> str:
        """In one line."""
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        return f"{self.done} of {self.total} {self.unit}{left}{', ' + self.figures if self.figures else ''}"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes, or seconds."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min" if whole >= 60 else f"{whole} s"


def note_progress(progress: Progress) -> None:
    """Leave a stage's progress for its starter, at most once a second; the end of it always."""
    stage = os.environ.get("DVC_STAGE")
    if not stage or int(os.environ.get("RANK", "0")):
        return
    now = time.monotonic()
    if progress.done < progress.total and now - _noted_at.get(stage, -EVERY_SECONDS) < EVERY_SECONDS:
        return
    _noted_at[stage] = now
    path = path_of(stage)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(progress._asdict()))
        temporary.replace(path)
    except OSError:
        return  # a full disk will be told by what needs it


def read_progress(stage: str) -> Progress | None:
    """What a stage left last; None before it left anything."""
    try:
        return Progress(**json.loads(path_of(stage).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def forget_progress(stage: str) -> None:
    """Remove what an earlier run of a stage left."""
    path_of(stage).unlink(missing_ok=True)


def path_of(stage: str) -> Path:
    """File of a stage, or of its item (`benchmark@grpo`)."""
    return FOLDER / f"{stage}.json"


class tracked(tqdm):  # noqa: N801  (as tqdm is called)
    """A progress bar that also leaves its state for whoever started the stage."""

    def display(self, *arguments: Any, **named: Any) -> Any:
        """As tqdm's, which calls it whenever the bar is drawn anew."""
        if self.total:
            rate = self.format_dict["rate"] or (self.n / self.format_dict["elapsed"] if self.n else None)
            left = (self.total - self.n) / rate if rate else None
            note_progress(Progress(int(self.n), int(self.total), f"{self.unit}s", left))
        return super().display(*arguments, **named)
