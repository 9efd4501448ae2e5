"""A checkpoint that was trained elsewhere, in the place of the one that this stage would train."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tasks.core.models.load import check_folder


def take_checkpoint(source: Path, out: Path) -> int:
    """Lay the files of a checkpoint into `out`, by hard links where the file system allows; returns their number.

    Nothing writes into a published model's files, so that sharing them is safe. An interrupted call leaves no `out`.

    Raises:
        ModelError: no checkpoint there.
    """
    check_folder(source)
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        shutil.copytree(source, beside, copy_function=_link_or_copy)
        shutil.rmtree(out, ignore_errors=True)
        beside.replace(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return sum(path.is_file() for path in out.rglob("*"))


def _link_or_copy(source: str, target: str) -> str:
    # A link to a link would dangle once the stage's output moves.
    file = os.path.realpath(source)
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)
    return target
