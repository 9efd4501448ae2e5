"""A project folder that runs the smallest graph, and the bytes of what a run of it left.

It holds the project's own files without dvc.lock, `measure/smallest/params.yaml` as params.yaml, and in models/smoke
two models of a few hundred thousand weights (`models.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tasks.core.io.errors import StageError

ROOT = Path(__file__).parents[2]
PARAMS = Path(__file__).with_name("params.yaml")
REPRO = (sys.executable, "-m", "dvc", "repro")
FLOW = (sys.executable, "-m", "flows.video_r1")
LAST_LINES = 15
Digests = dict[str, str]
"""Path of a file, relative to the project -> SHA-256."""


def make_project(folder: Path) -> Path:
    """Copy the project's own files (tracked or not yet tracked, never ignored ones) and make the two models."""
    for name in run(ROOT, "git", "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    shutil.copy(PARAMS, folder / "params.yaml")
    run(folder, "git", "init", "-q")
    run(folder, sys.executable, "-m", "measure.smallest.models", "models/smoke")
    return folder


def run(folder: Path, *command: str) -> str:
    """Output of a command.

    Raises:
        StageError: it failed; with its last lines.
    """
    done = subprocess.run(
        command, cwd=folder, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-LAST_LINES:])
        raise StageError(f"{' '.join(command)}: exit code {done.returncode} in {folder}\n{last}")
    return done.stdout


def environment() -> dict[str, str]:
    """This environment with this interpreter's folder first, as stages call `python`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"OMP_NUM_THREADS": "2", **os.environ, "PATH": path}


def outputs(folder: Path) -> Digests:
    """Every file of every output of the stages that ran, and dvc.lock but for the order of its entries.

    Stages are entered there as they end, and the flow runs siblings at once.

    Raises:
        StageError: no stage has run, or an output of one is missing.
    """
    lock = folder / "dvc.lock"
    if not lock.exists():
        raise StageError(f"{folder}: no stage has run")
    entries = yaml.safe_load(lock.read_text())
    digests = {lock.name: hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()}
    for stage, entry in entries["stages"].items():
        for out in entry.get("outs", []):
            path = folder / out["path"]
            if not path.exists():
                raise StageError(f"{folder}: {stage}: {out['path']} is missing")
            files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
            digests |= {str(file.relative_to(folder)): digest(file) for file in files}
    return digests


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> Sequence[str]:
    """A line about each file that only one of two runs has, or whose bytes differ."""
    lines = []
    for name in sorted({*first, *second}):
        if name not in second:
            lines.append(f"{name}: in the first run only")
        elif name not in first:
            lines.append(f"{name}: in the second run only")
        elif first[name] != second[name]:
            lines.append(f"{name}: differs")
    return lines
