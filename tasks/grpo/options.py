"""Settings of GRPO that TRL's arguments do not hold."""

from __future__ import annotations

from typing import NamedTuple

from tasks.grpo.forwards import Levers
from tasks.grpo.scoring import Rewards


class Options(NamedTuple):
    """Fields of the `grpo` section."""

    rewards: Rewards
    levers: Levers = Levers()
    refill: int = 0
    skip_zero_advantage: bool = True
    importance_cap: float | None = None
    """Bound of importance weights, where the rollout engine gives log-probabilities; None weights nothing."""
    dropout: bool = False
    """Whether an adapter drops activations at random."""
