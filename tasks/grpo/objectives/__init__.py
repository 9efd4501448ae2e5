"""Objectives of GRPO by kind. A further one is a file beside these and a line in `Choice`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.grpo.objectives import grpo, logprob, tgrpo_advantage, tgrpo_reward
from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms

Choice = Annotated[
    grpo.PlainGrpo | tgrpo_reward.TgrpoReward | tgrpo_advantage.TgrpoAdvantage | logprob.LogProb,
    Field(discriminator="kind"),
]
"""What `grpo.objective` may be."""

__all__ = ["Asks", "Choice", "Evidence", "Objective", "Terms"]
