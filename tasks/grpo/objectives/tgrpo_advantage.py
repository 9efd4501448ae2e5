"""T-GRPO with the bonus behind the normalisation, its size the gap between ordered and shuffled frames.

Formula:     A_i += alpha * (p - p~)  if a_i > correct_above and p > p~;  p, p~ as in `tgrpo_reward`
Source:      ours; p and p~ are Video-R1's (arXiv 2503.21776)
Cost:        as `tgrpo_reward`: G~ more completions and one more vision pass
Departures:  from `tgrpo_reward`: group normalisation cannot take the term back, and its size follows how
             much order helped
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms, after_normalisation
from tasks.grpo.objectives.perturbations import AnyPerturbation, Shuffle


class TgrpoAdvantage(Objective):
    """The gap p - p~, after normalisation."""

    kind: Literal["tgrpo_advantage"] = "tgrpo_advantage"
    completions: int = Field(4, ge=1)
    """G~: completions sampled on the perturbed clip."""
    alpha: float = Field(0.3, ge=0)
    """What a gap of 1 pays."""
    correct_above: float = Field(0.1, ge=0, le=1)
    """A completion is correct when its accuracy is greater than this."""
    perturbation: AnyPerturbation = Shuffle()
    """The view compared with."""

    def asks(self) -> Asks:
        """G~ completions on the perturbed clip."""
        return Asks((self.perturbation,), completions=self.completions)

    def terms(self, evidence: Evidence) -> Terms | None:
        """The formula above."""
        if not evidence.perturbed_accuracy:
            return None
        ordered = sum(evidence.accuracy) / len(evidence.accuracy)
        perturbed = sum(evidence.perturbed_accuracy) / len(evidence.perturbed_accuracy)
        pay = self.alpha * max(ordered - perturbed, 0.0)
        return after_normalisation([pay if value > self.correct_above else 0.0 for value in evidence.accuracy])
