"""Settings that all questions to one model share."""

from __future__ import annotations

from typing import NamedTuple

from tasks.benchmark.base import Decoding
from tasks.core.video import LIMIT_SECONDS


class FrameSampling(NamedTuple):
    """Number and size of the frames of a clip; fields of `params.Video` and of the model's frame shape."""

    frames: int
    """Most frames."""
    fps: float
    min_frames: int
    min_pixels: int
    max_pixels: int
    side_factor: int = 28
    """Frame sides are multiples of this many pixels."""
    fixed_side: int | None = None
    """Side of all frames, pixels; None keeps their aspect."""


class Settings(NamedTuple):
    """Settings of all jobs of a model."""

    config: str
    """Hash of the model and of everything else that decides a completion and is not in a job."""
    template: str
    """Prompt template of the protocols `video_r1` and `pipeline`."""
    system: str
    seed: int
    views: tuple[str, ...]
    decoding: Decoding
    """Of the protocols `video_r1` and `pipeline`."""
    official_max_tokens: int | None
    """Longest completion under `official`; None takes each benchmark's own."""
    reward_variant: str = "robust"
    """Scorer of the protocol `pipeline`; no part of a key."""
    decode_workers: int = 0
    """Threads that decode a batch ahead; no part of a key."""
    disk_cache_gb: float = 0.0
    """Size of the cache of decoded frames, GiB; no part of a key."""
    read_limit_seconds: float = LIMIT_SECONDS
    """How long reading a small file may take; no part of a key."""
