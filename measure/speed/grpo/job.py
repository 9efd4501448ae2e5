"""What one measurement is told; importable without torch."""

from __future__ import annotations

from typing import NamedTuple

LEVERS = (
    "encode_once",
    "share_prefix",
    "drop_ended",
    "share_prefix_update",
    "varlen_attention",
    "selective_checkpointing",
    "skip_zero_advantage",
)
CACHED = "cached_features"
"""As a lever: the encoder is frozen, and its features are kept from an earlier step."""


class Job(NamedTuple):
    """What to measure."""

    path: str
    """`ours` or `trl`."""
    levers: tuple[str, ...]
    """Levers that are on; `trl` has none."""
    family: str
    """model_type of the policy."""
    shape: str
    frames: int
    side: int
    """Pixels, a multiple of the merged patch: 28, or 32 for some families."""
    group: int
    shuffled: int
    answer: int
    """Tokens of an answer."""
    micro: int
    """Rows of a micro-batch."""
    timed_rows: int
    """Rows that are timed; time is scaled up to `group`."""
    repeats: int
    """Timed passes; the fastest counts."""
    whole: bool
    """Whether to measure decode, rollout and optimizer too."""
    dtype: str
    device: str


class LaunchedJob(NamedTuple):
    """What every process of `--launched` is told."""

    profile: str
    """A file of profiles/."""
    shape: str
    steps: int
    frames: int
    side: int
    """Pixels, a multiple of the merged patch."""
    answer: int
    """Tokens of a completion; none ends earlier."""
    group: int | None
    """Completions of a prompt; None: the profile's."""
    prompts: int | None
    """Prompts of a step and process; None: the profile's."""
    host: bool
    """Whether a single process, too, has the model in main memory before it trains, as a stage loads it."""
    folder: str
    """Takes `process-<rank>.json` of every process."""
