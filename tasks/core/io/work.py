"""Work in progress of a stage, kept in a folder under a key of all that its results depend on.

A stage finds the work of its inputs, begins it (a word about what is not gone on from) and claims it, so that no second
process works in it. `python -m tasks.work` lists and clears works.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.core.io.atomic import naming, write_json
from tasks.core.io.digests import DIGEST_LENGTH, work_key
from tasks.core.io.errors import StageError
from tasks.core.io.given import from_environment, real_number

DESCRIPTION = "work.json"
"""What a work belongs to: stage, inputs and facts."""
ROWS = "rows.jsonl"
LOCK = ".lock"
WAIT_SECONDS = 600.0
_CLAIMED: dict[tuple[int, int], int] = {}
"""Lock files that this process holds: (device, inode) -> number of the open file."""
KEPT_DAYS = 30.0
SECONDS_PER_DAY = 86400


class Previous(NamedTuple):
    """The work of a stage whose inputs come nearest to those asked for; of several, the one used last."""

    folder: Path
    changes: tuple[str, ...]
    """What differs, one line each, names first."""
    names: frozenset[str]
    """First part of the name of each input that differs."""
    facts: dict[str, Any]


class Work(NamedTuple):
    """A stage's work in progress."""

    stage: str
    folder: Path
    inputs: dict[str, Any]
    facts: dict[str, Any]
    """What may change between a run and its resumption, as the number of processes."""
    before: dict[str, Any] | None
    """Facts of the run that is resumed; None when it starts afresh."""
    previous: Previous | None
    """When it starts afresh: what it does not go on from."""


def find_work(root: Path, stage: str, inputs: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> Work:
    """The work of a stage under the key of its inputs; nothing is written.

    Args:
        root: folder of the stage's works.
        stage: its name.
        inputs: all that its results depend on, JSON-like, nested by mappings.
        facts: what else is worth knowing.
    """
    plain = json.loads(json.dumps(dict(inputs), default=str))
    folder = root / work_key(**plain)
    known = {path.parent: _described(path) for path in root.glob(f"*/{DESCRIPTION}")}
    before = known.get(folder)
    previous = None
    if before is None and known:
        differ = {other: differences(described.get("inputs", {}), plain) for other, described in known.items()}
        near = min(known, key=lambda other: (len(differ[other]), -last_used(other)))
        names = frozenset(name.partition(".")[0] for name in differ[near])
        previous = Previous(near, tuple(differ[near].values()), names, known[near].get("facts", {}))
    return Work(stage, folder, plain, dict(facts or {}), None if before is None else before.get("facts", {}), previous)


def begin_work(work: Work, tell: Callable[[str], None] = print) -> Path:
    """Make the work's folder, claim it, and say why it starts afresh and what is kept beside it.

    Works of the stage that nobody used for `KEPT_DAYS` days are removed, and that is said.
    """
    for folder in old_works(work.folder.parent, days=kept_days()):
        if folder != work.folder and not in_use(folder):
            tell(f"{work.stage}: removed {folder} ({readable(size_of(folder))}), not used for {kept_days():g} days")
            shutil.rmtree(folder)
    if work.previous and work.previous.folder.exists():
        tell(f"{work.stage}: starts afresh: {listed(work.previous.changes)}")
        others = [path.parent for path in work.folder.parent.glob(f"*/{DESCRIPTION}") if path.parent != work.folder]
        total = readable(sum(size_of(folder) for folder in others))
        tell(
            f"{work.stage}: older work is kept, {total} in {work.folder.parent}; `python -m tasks.work` lists it, "
            f"`python -m tasks.work clear {work.stage}` removes it"
        )
    claim(work.folder, work.stage)
    write_json(work.folder / DESCRIPTION, {"stage": work.stage, "inputs": work.inputs, "facts": work.facts})
    return work.folder


def claim(folder: Path, stage: str, wait_seconds: float = WAIT_SECONDS) -> None:
    """Take a work for this process alone until it ends; one that is still ending is waited for.

    Raises:
        StageError: another process holds it all the while; names the process.
    """
    number, file = _open_lock(folder)
    if file in _CLAIMED:
        os.close(number)
        return
    deadline = time.monotonic() + wait_seconds
    announced = False
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(folder / LOCK, file):
                break
            os.close(number)  # whoever held it has finished and removed the work: that file locks nothing any more
            number, file = _open_lock(folder)
        except BlockingIOError:
            holder = os.pread(number, 20, 0).decode() or "another process"
            if time.monotonic() > deadline:
                os.close(number)
                raise StageError(f"{stage}: process {holder} works in {folder}; end it first") from None
            if not announced:
                print(f"{stage}: waits for process {holder}, which works in {folder}", file=sys.stderr, flush=True)
                announced = True
            time.sleep(0.5)
    with naming(folder / LOCK):
        os.truncate(number, 0)
        os.pwrite(number, str(os.getpid()).encode(), 0)
    _CLAIMED[file] = number


def _open_lock(folder: Path) -> tuple[int, tuple[int, int]]:
    """Number of the open lock file of a work, which is made as needed, and its (device, inode)."""
    folder.mkdir(parents=True, exist_ok=True)
    number = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    status = os.fstat(number)
    return number, (status.st_dev, status.st_ino)


def _is_at(path: Path, file: tuple[int, int]) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == file


def in_use(folder: Path) -> bool:
    """Whether a process holds a work."""
    if not (folder / LOCK).exists():
        return False
    with (folder / LOCK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def differences(before: Any, now: Any, name: str = "") -> dict[str, str]:
    """Name -> one line about each value that differs between two nested mappings."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        changes: dict[str, str] = {}
        for key in [*before, *(key for key in now if key not in before)]:
            inner = f"{name}.{key}" if name else str(key)
            if key not in now:
                changes[inner] = f"{inner} is gone"
            elif key not in before:
                changes[inner] = f"{inner} is new"
            else:
                changes |= differences(before[key], now[key], inner)
        return changes
    if before == now:
        return {}
    digests = isinstance(before, str) and isinstance(now, str) and len(before) == len(now) == DIGEST_LENGTH
    return {name: f"{name} changed" if digests else f"{name}: {before!r} -> {now!r}"}


def listed(lines: Sequence[str], most: int = 6) -> str:
    """The first lines, and how many more there are."""
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return ", ".join(lines[:most]) + more


def works(*roots: Path) -> list[Path]:
    """Folders of all works below the roots."""
    return sorted(path.parent for root in roots if root.is_dir() for path in root.rglob(DESCRIPTION))


def old_works(root: Path, *, days: float) -> list[Path]:
    """Works directly below `root` that were not used for so long."""
    limit = time.time() - days * SECONDS_PER_DAY
    return [path.parent for path in sorted(root.glob(f"*/{DESCRIPTION}")) if last_used(path.parent) < limit]


def kept_days() -> float:
    """How long unused work is kept: VIDEO_R1_WORK_DAYS, 30 unless set.

    Raises:
        StageError: not a number of days.
    """
    return from_environment("VIDEO_R1_WORK_DAYS", real_number(least=0), KEPT_DAYS)


def last_used(folder: Path) -> float:
    """Time of the newest change below a folder, seconds since the epoch."""
    return max((file.stat().st_mtime for file in [folder, *folder.rglob("*")] if file.exists()), default=0.0)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def readable(count: int) -> str:
    """Bytes in decimal units."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _described(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    named = described if isinstance(described, dict) else {}
    return {name: named[name] for name in ("inputs", "facts") if isinstance(named.get(name), dict)}
