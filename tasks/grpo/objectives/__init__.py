"""Objectives of GRPO by kind. A further one is a file beside these and a line in `Choice`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.grpo.objectives import (
    arrow,
    exchange,
    grpo,
    ktr,
    logprob,
    papo,
    permuted,
    taro,
    tgrpo_advantage,
    tgrpo_reward,
    unlikely,
)
from tasks.grpo.objectives.base import Asks, Contrast, Evidence, Objective, Terms

Choice = Annotated[
    grpo.PlainGrpo
    | tgrpo_reward.TgrpoReward
    | tgrpo_advantage.TgrpoAdvantage
    | logprob.LogProb
    | taro.Taro
    | ktr.Ktr
    | arrow.Arrow
    | exchange.Exchange
    | papo.Papo
    | permuted.Permuted
    | unlikely.Unlikely,
    Field(discriminator="kind"),
]
"""What `grpo.objective` may be."""

__all__ = ["Asks", "Choice", "Contrast", "Evidence", "Objective", "Terms"]
