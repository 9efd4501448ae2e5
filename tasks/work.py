"""`python -m tasks.work`: lists work in progress with its size; `clear` removes it.

    python -m tasks.work                            every stage's work: what it holds, how large, how old
    python -m tasks.work clear sft grpo             all work of these stages
    python -m tasks.work clear --key 0f3a           one work, by the beginning of its key
    python -m tasks.work clear --older-than 7       what nobody used for seven days
    python -m tasks.work clear --all

A stage that runs keeps its work. Nothing here is a result: a finished stage removes its own.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tasks import paths
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.given import real_number
from tasks.core.io.work import DESCRIPTION, ROWS, SECONDS_PER_DAY, in_use, last_used, readable, size_of, works

ROOTS = (paths.WORK_MODELS, paths.WORK_DATA)


class Listed(NamedTuple):
    """One work of a stage."""

    folder: Path
    stage: str
    size_bytes: int
    age_days: float
    holds: str
    running: bool


def look(folder: Path, now: float) -> Listed:
    """What a work's folder holds; `now` in seconds since the epoch."""
    try:
        stage = str(json.loads((folder / DESCRIPTION).read_text())["stage"])
    except (ValueError, KeyError, TypeError):
        stage = folder.parent.name
    age = (now - last_used(folder)) / SECONDS_PER_DAY
    return Listed(folder, stage, size_of(folder), age, holdings(folder), in_use(folder))


def holdings(folder: Path) -> str:
    """The newest checkpoint and how many there are, or the rows answered."""
    steps = [int(name) for path in folder.glob("checkpoint-*") if (name := path.name.rpartition("-")[2]).isdigit()]
    if steps:
        return f"step {max(steps)}, {len(steps)} checkpoints"
    if (folder / ROWS).is_file():
        with (folder / ROWS).open("rb") as file:
            return f"{sum(1 for _ in file)} rows"
    return "nothing yet"


def chosen(works: Sequence[Listed], stages: Sequence[str], key: str, days: float, everything: bool) -> list[Listed]:
    """The works that `clear` was asked for.

    Raises:
        StageError: nothing was asked for, or a stage or key that has no work.
    """
    if not (stages or key or days or everything):
        raise StageError("clear what? name stages, --key, --older-than or --all")
    known = {work.stage for work in works}
    for stage in stages:
        if stage not in known:
            raise StageError(f"{stage} has no work in progress; stages that have: {', '.join(sorted(known)) or 'none'}")
    left = [
        work
        for work in works
        if (not stages or work.stage in stages) and work.folder.name.startswith(key) and work.age_days >= days
    ]
    if key and not left:
        raise StageError(f"no work whose key begins with {key}")
    return left


def main(arguments: Sequence[str] | None = None) -> int:
    """List or clear."""
    parser = OneLineParser(prog="python -m tasks.work", description="Work in progress: list it, clear it.")
    commands = parser.add_subparsers(dest="command")
    clear = commands.add_parser("clear", help="remove work")
    clear.add_argument("stages", nargs="*", metavar="STAGE")
    clear.add_argument("--key", default="", help="beginning of a work's key")
    clear.add_argument("--older-than", type=real_number(above=0), default=0.0, metavar="DAYS")
    clear.add_argument("--all", action="store_true")
    options = parser.parse_args(arguments)
    now = time.time()
    listed = [look(folder, now) for folder in works(*ROOTS)]
    if options.command is None:
        show(listed)
        return 0
    running = 0
    for work in chosen(listed, options.stages, options.key, options.older_than, options.all):
        if work.running:
            print(f"{work.folder}: {work.stage} is running; kept", file=sys.stderr)
            running += 1
            continue
        shutil.rmtree(work.folder)
        print(f"removed {work.folder} ({readable(work.size_bytes)})")
    return 1 if running else 0


def show(works: Sequence[Listed]) -> None:
    """Print a line per work and the sum."""
    if not works:
        print("no work in progress")
        return
    for work in works:
        state = "running" if work.running else f"{work.age_days:.1f} days old"
        print(f"{work.stage:<10} {readable(work.size_bytes):>9}  {state:<14} {work.holds:<24} {work.folder}")
    print(f"{len(works)} in all, {readable(sum(work.size_bytes for work in works))}")


if __name__ == "__main__":
    run_stage(main)
