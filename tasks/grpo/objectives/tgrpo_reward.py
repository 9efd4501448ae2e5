"""T-GRPO as published: correct completions are paid when their group does not do worse than one on shuffled frames.

With accuracy a_i of the G completions on ordered frames and b_j of the G~ on shuffled ones:

Formula:     p = mean a_i,  p~ = mean b_j,  R_i += alpha  if a_i > correct_above and p >= mu * p~
Source:      Video-R1 (arXiv 2503.21776), section 3.3, in the form of its released code: mu = 0.8, and "correct" means
             an accuracy reward above 0.1. The text of the paper asks for p >= p~ (mu = 1).
Cost:        G~ more completions and one more vision pass; perturbed completions reach no backward pass
Departures:  a shuffle is never the true order; each step draws its own; `bonus_rate` counts a prompt only when some
             completion was paid (the published metric also counts p = p~ = 0, and images as 0.5)

As in the code, p and p~ are means of the accuracy reward, which is continuous for OCR, free-form and regression; the
paper speaks of the proportion correct. With two-valued rewards the bonus is an affine change of R, which normalisation
within the group takes back: advantages stay as they were.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms, before_normalisation
from tasks.grpo.objectives.perturbations import AnyPerturbation, Shuffle


class TgrpoReward(Objective):
    """The published bonus, before normalisation."""

    kind: Literal["tgrpo_reward"] = "tgrpo_reward"
    completions: int = Field(4, ge=1)
    """G~: completions sampled on the perturbed clip."""
    alpha: float = Field(0.3, ge=0)
    """The bonus."""
    mu: float = Field(0.8, ge=0)
    """It is paid when p >= mu * p~."""
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
        pay = self.alpha if ordered >= self.mu * perturbed else 0.0
        return before_normalisation([pay if value > self.correct_above else 0.0 for value in evidence.accuracy])
