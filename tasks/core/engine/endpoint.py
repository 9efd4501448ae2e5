"""Endpoint files: where a served model is.

A small YAML file that stands where a checkpoint folder would: `base_url`, `model`, and optionally `api_key_env` (the
environment variable that holds the key, OPENAI_API_KEY by default) and `concurrency`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.core.engine.types import EngineError

SUFFIXES = (".yaml", ".yml")
RETRIES = 5
_FIELDS = {"base_url", "model", "api_key_env", "concurrency"}


@dataclass(frozen=True)
class Endpoint:
    """Where a served model is."""

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 8
    """Requests under way at once."""

    def client(self) -> Any:
        """A client that retries what may pass (rate limits, time-outs, server errors)."""
        import openai

        key = os.environ.get(self.api_key_env) or "none"
        return openai.OpenAI(base_url=self.base_url, api_key=key, max_retries=RETRIES)


def is_endpoint(path: Path | str) -> bool:
    """Whether a model path names an endpoint file and not a checkpoint folder."""
    return Path(path).suffix in SUFFIXES


def read_endpoint(path: Path | str) -> Endpoint:
    """Read an endpoint file.

    Raises:
        EngineError: missing, not YAML, or a field is missing or unknown.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise EngineError(f"{path}: not an endpoint file: {error}") from error
    if not isinstance(raw, dict) or not {"base_url", "model"} <= set(raw) <= _FIELDS:
        raise EngineError(f"{path}: an endpoint needs base_url and model, and may have api_key_env and concurrency")
    return Endpoint(**raw)
