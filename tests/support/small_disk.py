"""A disk with as much room as a test wants: a tmpfs, where the system lets one be mounted."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BALLAST = "ballast"


@contextmanager
def mounted(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A disk of so many bytes at `folder`; the test is skipped where mounting is not permitted."""
    folder.mkdir(parents=True)
    if shutil.which("mount") is None:
        pytest.skip("no small disk can be mounted here: no command mount")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def leave(disk: Path, room_bytes: int) -> None:
    """Fill the disk that is mounted at `disk` but for so many bytes."""
    make_room(disk)
    with (disk / BALLAST).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(disk).free - room_bytes))


def make_room(disk: Path) -> None:
    """Take the filling away."""
    (disk / BALLAST).unlink(missing_ok=True)
