"""What a rehearsal changes in a profile: what a handful of rows needs; everything else is the profile's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tasks import paths, profile

ROOT = Path(__file__).parents[2]
BASE = Path("models/qwen2.5-vl-7b-instruct")
"""Where the checkpoint is made."""
PROFILES = ("video_r1_7b", "video_r1_7b_lora")
"""Profiles of Qwen2.5-VL-7B that one process can rehearse."""


class Rehearsal(NamedTuple):
    """What the command line asks for."""

    profile: str = PROFILES[0]
    size: str = "3b"
    """Of `checkpoint.SIZES`."""
    layers: int | None = None
    """Of the language model, beside all of the encoder's; None: as few as `checkpoint.SIZES` has."""
    gpu: bool = False
    """On a GPU the group is the profile's own."""
    max_pixels: int | None = None
    """Of a frame; None: the profile's."""
    tokens: int = 12
    """Of a completion, at most."""
    without: Sequence[str] = ()
    """Stages left out."""


def starts(name: str) -> list[str]:
    """Where the rehearsal of a profile begins, one run after the other: values of `start.at`."""
    return ["sft"] if values_of(name)["start"]["at"] == "sft" else ["teacher", "cot"]


def values_of(name: str) -> dict[str, Any]:
    """The profile as it is."""
    values: dict[str, Any] = yaml.safe_load(profile.text_of(name, ROOT / "profiles"))
    return values


def write_params(folder: Path, start: str, asked: Rehearsal) -> None:
    """params.yaml of a run that begins at `start`."""
    values = values_of(asked.profile)
    for place, value in changes(start, asked).items():
        section, _, field = place.partition(".")
        if field:
            values[section][field] = value
        else:
            values[section] = value
    (folder / paths.PARAMS).write_text(yaml.safe_dump(values))


def changes(start: str, asked: Rehearsal) -> dict[str, Any]:
    """Dotted place -> value."""
    path = "data/raw/Video-R1-COT-165k.json" if start == "cot" else str(BASE)
    fewer = asked.max_pixels
    pixels = {} if fewer is None else {"video.min_pixels": fewer // 2, "video.max_pixels": fewer}
    group = {} if asked.gpu else {"grpo.group": 4, "grpo.objective": {"kind": "tgrpo_reward", "completions": 2}}
    return {
        "models.teacher": str(BASE),
        "start": {"at": start, "path": path, "media_root": None},
        **pixels,
        "video.decode_workers": 1,
        "engine.backend": "transformers",
        "engine.tensor_parallel": 1,
        "engine.batch_size": 2,
        "ingest.workers": 1,
        "validate": {"max_quarantined_share": 0.02, "min_rows": 1},
        "annotate.sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": asked.tokens},
        "sft.frame_cache_gb": 0.5,
        "grpo.steps": 2,
        **group,
        "grpo.sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": asked.tokens},
        "grpo.rollout_engine": "transformers",
        "grpo.rollout_sleep": None,
        "grpo.frame_cache_gb": 0.5,
        "benchmark.sampling": {"temperature": 0.1, "top_p": 0.001, "max_tokens": 8},
        "benchmark.suites": [],
        "benchmark.rows": 3,
    }
