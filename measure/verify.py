"""`python -m measure.verify`: runs the smallest graph twice, in two fresh folders, and compares every output.

    python -m measure.verify                    both at once, in a temporary folder
    python -m measure.verify --folder kept      leaves both runs in kept/first and kept/second

Every output of every stage is compared byte by byte, weights included. What differs is listed, and the exit code is 1.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure.smallest.project import REPRO, differing, make_project, outputs, run
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and compare."""
    parser = OneLineParser(prog="python -m measure.verify", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where both runs stay; a temporary folder otherwise")
    folder = parser.parse_args(arguments).folder
    if folder is not None:
        return verify(folder.absolute())
    with tempfile.TemporaryDirectory(prefix="verify-") as temporary:
        return verify(Path(temporary))


def verify(folder: Path) -> int:
    """Run the graph in `folder`/first and `folder`/second; 0 when their outputs are equal.

    Raises:
        StageError: a run is there already, or a stage failed.
    """
    first, second = folder / "first", folder / "second"
    if folder.exists() and not folder.is_dir():
        raise StageError(f"--folder {folder}: no folder")
    for run_folder in (first, second):
        if run_folder.exists():
            raise StageError(f"{run_folder} exists; remove it, for both runs start afresh")
    make_project(first)
    shutil.copytree(first, second, symlinks=True)
    with ThreadPoolExecutor(2) as both:
        for done in [both.submit(run, run_folder, *REPRO) for run_folder in (first, second)]:
            done.result()
    left = outputs(first)
    lines = differing(left, outputs(second))
    for line in lines:
        print(line)
    if lines:
        print(f"verify: {len(lines)} of {len(left)} files differ between two runs")
        return 1
    print(f"verify: {len(left)} files are equal, byte by byte, in two runs")
    return 0


if __name__ == "__main__":
    run_stage(main)
