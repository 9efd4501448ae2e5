"""Digests of what a result depends on: values, files, folders, media, code."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from pathlib import Path
from typing import Any

KEY_LENGTH = 16
DIGEST_LENGTH = 64


def value_digest(value: Any) -> str:
    """SHA-256 of a JSON-like value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(*folders: Path) -> str:
    """SHA-256 over the names and contents of all files below the folders; caches and hidden files do not count.

    Where a folder lies and what it is called does not matter; the order of several does.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for file in files_below(folder):
            digest.update(f"{file.relative_to(folder)}\0{file_digest(file)}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """All files below a folder in the order of their names, without caches and hidden ones.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    inside = {file: file.relative_to(folder).parts for file in folder.rglob("*") if file.is_file()}
    hidden = {file for file, parts in inside.items() if any(part.startswith(".") for part in parts)}
    return sorted(file for file, parts in inside.items() if file not in hidden and "__pycache__" not in parts)


def work_key(**inputs: Any) -> str:
    """Sixteen hex digits that change when any input does; inputs are JSON-like values."""
    return value_digest(inputs)[:KEY_LENGTH]


def code_digests(*places: Path) -> dict[str, str]:
    """`code_digest` of every Python file at or below the places, by its path; a key that holds them names what changed.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    files = [file for place in places for file in ([place] if place.is_file() else files_below(place))]
    return {os.path.relpath(file): code_digest(file) for file in files if file.suffix == ".py"}


def code_digest(path: Path) -> str:
    """SHA-256 of a Python file's statements: comments, docstrings and layout do not count.

    Raises:
        FileNotFoundError: there is no such file.
    """
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(line: ast.stmt) -> bool:
    """Whether a statement is a mere string: a docstring, or the description of a field."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
