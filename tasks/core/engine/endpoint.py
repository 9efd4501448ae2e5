"""Endpoint files: where a served model is.

A small YAML file that stands where a checkpoint folder would:

    base_url: https://host/v1
    model: name-of-the-model
    api_key_env: OPENAI_API_KEY        # environment variable that holds the key
    concurrency: 8                     # requests under way at once
    timeout_seconds: 300               # for one try of a request, from sending it to the last byte of the reply
    retries: 8                         # further tries after 429, 5xx, time-outs and damaged replies
    usd_per_million_prompt_tokens: 0.0 # what the report reckons with
    usd_per_million_completion_tokens: 0.0

Only the first two must be there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from tasks.core.engine.types import EngineError
from tasks.core.io.errors import reason_of


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where a served model is; the fields are those of the file."""

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 8
    timeout_seconds: float = 300.0
    retries: int = 8
    usd_per_million_prompt_tokens: float = 0.0
    usd_per_million_completion_tokens: float = 0.0

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of so many tokens."""
        prompt = prompt_tokens * self.usd_per_million_prompt_tokens
        return (prompt + completion_tokens * self.usd_per_million_completion_tokens) / 1e6


def read_endpoint(path: Path | str) -> Endpoint:
    """Read an endpoint file.

    Raises:
        EngineError: missing, not YAML, or a field is missing, unknown or of the wrong kind.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise EngineError(f"{path}: not an endpoint file: {reason_of(error)}") from error
    names = [field.name for field in dataclasses.fields(Endpoint)]
    if not isinstance(raw, dict) or not {"base_url", "model"} <= set(raw) <= set(names):
        raise EngineError(f"{path}: an endpoint needs base_url and model, and may have {', '.join(names[2:])}")
    try:
        made = TypeAdapter(Endpoint).validate_python(raw)
    except ValidationError as error:
        raise EngineError(f"{path}: {reason_of(error)}") from error
    if made.concurrency < 1 or made.timeout_seconds <= 0 or made.retries < 0:
        raise EngineError(f"{path}: concurrency must be at least 1, timeout_seconds over 0, retries at least 0")
    return made
