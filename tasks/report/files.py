"""Files of other stages, read with their name in every error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from tasks.core.io.errors import StageError
from tasks.core.io.tables import read_table


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        StageError: not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StageError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise StageError(f"{path}: a JSON object is wanted, got {type(value).__name__}")
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML object; empty where there is no file."""
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def rows_of(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Rows of a table; none where there is no file."""
    return read_table(path, schema) if path.exists() else []
