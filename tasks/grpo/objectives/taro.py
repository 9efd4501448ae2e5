"""TaRO: pay a correct completion that loses more log-probability under shuffled frames than its group does.

Formula:     d_i = mean over tokens of log pi(o_i | ordered) - log pi(o_i | shuffled)
             R_i += alpha  if a_i > correct_above and d_i > mean d + margin
Source:      TaRO (arXiv 2606.09248); its released code: d as the mean over tokens, the mean over the whole group
Cost:        forwards of the G completions without gradient, one ordered and one shuffled, and a vision pass; no further
             completions
Departures:  all frames are shuffled, where TaRO shuffles those around an event's true bounds, which questions have not;
             correct means accuracy, not overlap of intervals
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import (
    Asks,
    Evidence,
    Objective,
    Terms,
    before_normalisation,
    mean_over_views,
    token_means,
)
from tasks.grpo.objectives.perturbations import AnyPerturbation, Shuffle


class Taro(Objective):
    """A step for losing more than the group does, before normalisation."""

    kind: Literal["taro"] = "taro"
    alpha: float = Field(0.3, ge=0)
    """The bonus."""
    margin: float = Field(0.0, ge=0)
    """Nats a token by which a completion must lose more than the group's mean."""
    correct_above: float = Field(0.1, ge=0, le=1)
    """A completion is correct when its accuracy is greater than this."""
    perturbation: AnyPerturbation = Shuffle()
    """The view compared with."""

    def asks(self) -> Asks:
        """Log-probabilities of the completions on ordered and perturbed frames."""
        return Asks((self.perturbation,), scored=True)

    def terms(self, evidence: Evidence) -> Terms | None:
        """The formula above."""
        if evidence.drops is None:
            return None
        drops = token_means(mean_over_views(evidence.drops))
        least = sum(drops) / len(drops) + self.margin
        return before_normalisation(
            [
                self.alpha if value > self.correct_above and drop > least else 0.0
                for value, drop in zip(evidence.accuracy, drops, strict=True)
            ]
        )
