"""JSON and YAML files of other stages, read with their name in every error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tasks.core.io.errors import StageError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        StageError: not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:  # no JSON, or no UTF-8
        raise StageError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise StageError(f"{path}: a JSON object is wanted, got {type(value).__name__}")
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; empty where there is no file, or nothing in it.

    Raises:
        StageError: not YAML, or no mapping.
    """
    if not path.is_file():
        return {}
    try:
        value = yaml.safe_load(path.read_bytes()) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise StageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise StageError(f"{path}: a YAML mapping is wanted, got {type(value).__name__}")
    return value
