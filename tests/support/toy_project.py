"""Make and drive copies of the toy DVC project in tests/fixtures/toy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOY = Path(__file__).parents[1] / "fixtures" / "toy"


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run DVC in a project with this interpreter first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)


def make_toy(folder: Path) -> Path:
    """Copy the toy project into `folder` and make a DVC project of it, as `dvc init --no-scm` does in a second."""
    shutil.copytree(TOY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "graph.yaml").rename(folder / "dvc.yaml")  # under its own name DVC would take it for part of this project
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = True\n")
    return folder


def ran(folder: Path) -> list[str]:
    """Stages that ran since the last call, sorted."""
    log = folder / "ran.log"
    stages = sorted(log.read_text().split()) if log.exists() else []
    log.unlink(missing_ok=True)
    return stages
