"""How long stages took: a line per run in a file that git and DVC ignore, for results must not hold times."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from tasks.core.io.jsonl import append_jsonl, read_jsonl

LOG = Path(".cache/stage_seconds.jsonl")


class StageSeconds(NamedTuple):
    """One run of a stage."""

    stage: str
    ended: float
    """Seconds since the epoch."""
    seconds: float
    """From the start of its process, imports included."""
    exit_code: int


def note_seconds(exit_code: int) -> None:
    """Log this process's run, where DVC started it as a stage; of several processes the first one does."""
    stage = os.environ.get("DVC_STAGE")
    if not stage or int(os.environ.get("RANK", "0")):
        return
    now = time.time()
    row = StageSeconds(stage, now, now - psutil.Process().create_time(), exit_code)
    try:
        append_jsonl(LOG, [row._asdict()])
    except OSError:
        return  # a full disk has been told already, and times are worth no error


def read_seconds(since: float) -> list[StageSeconds]:
    """Runs that ended after `since`, in order."""
    rows = [StageSeconds(**row) for row in read_jsonl(LOG)]
    return [row for row in rows if row.ended >= since]


def table(rows: list[StageSeconds], whole: float) -> str:
    """A line per run, what is left of the whole (DVC's own work, starts of processes) and the whole."""
    if not rows:
        return f"nothing ran; {whole:.0f} s in all"
    width = max(len(row.stage) for row in rows) + 2
    lines = [f"{row.stage:<{width}}{row.seconds:>8.1f} s{'' if row.exit_code == 0 else '  failed'}" for row in rows]
    rest = max(whole - sum(row.seconds for row in rows), 0.0)
    return "\n".join([*lines, f"{'between':<{width}}{rest:>8.1f} s", f"{'in all':<{width}}{whole:>8.1f} s"])
