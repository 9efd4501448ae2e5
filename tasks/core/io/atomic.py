"""Writes that either happen whole or not at all: a temporary name beside the target, then a rename."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.core.io.errors import full_disk


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it onto `path` on success, else remove it. Folders are made.

    The file is on the disk before it gets its name, so that a power cut leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path, temporary):
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let a system error name the file being written where it names none, as that of a full disk, or `temporary`."""
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Let the error of a full disk name what is being written where a library's own error does not, as torch's."""
    try:
        yield
    except Exception as error:
        if full_disk(error) is None or (isinstance(error, OSError) and error.filename):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def sync(path: Path) -> None:
    """Force a file's contents, or a folder's names, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def replace_folder(source: Path, target: Path) -> None:
    """Let a folder take the place of whatever is at `target`: a folder, a file or a link, whose own target stays.

    From another disk it is copied first, so that a crash leaves the old one, the new one or none, never a part.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        shutil.move(source, beside)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; folders are made as needed."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically, keys in the order given.

    Raises:
        ValueError: `value` holds NaN or infinity, which JSON cannot carry.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
