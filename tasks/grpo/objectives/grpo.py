"""Plain GRPO: rewards normalised within the group, nothing added.

Formula:     A_i = (R_i - mean R) / std R, or as `grpo.scale_rewards` says
Source:      DeepSeekMath (arXiv 2402.03300), section 4.1
Cost:        G completions and their backward pass
Departures:  none
"""

from __future__ import annotations

from typing import Literal

from tasks.grpo.objectives.base import Evidence, Objective, Terms


class PlainGrpo(Objective):
    """No temporal term."""

    kind: Literal["grpo"] = "grpo"

    def terms(self, evidence: Evidence) -> Terms | None:
        """Nothing."""
        return None
