"""A checkpoint that was trained elsewhere, used as the result of this stage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tasks.core.io.atomic import replace_folder
from tasks.core.models.load import check_folder


def take_checkpoint(source: Path, out: Path) -> int:
    """Put the files of a checkpoint into `out`, as hard links where the file system allows; returns their number.

    Nothing writes into the files of a published model, so sharing them is safe. An interrupted call leaves no `out`.

    Raises:
        ModelError: no checkpoint there.
    """
    check_folder(source)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary, copy_function=_link_or_copy)
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sum(path.is_file() for path in out.rglob("*"))


def _link_or_copy(source: str, target: str) -> str:
    # A hard link to a symbolic link would point nowhere once the stage's output moves.
    file = os.path.realpath(source)
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)
    return target
