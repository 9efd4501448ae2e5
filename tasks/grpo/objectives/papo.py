"""PAPO: plain GRPO, and the policy is to say something else where it sees another view.

Formula:     A_i as in `grpo`
             k_t = exp(l'_t - l_t) - (l'_t - l_t) - 1,  l_t = log pi(o_t | ordered), l'_t = log pi(o_t | other view)
             loss -= gamma * mean over completions of the mean over tokens of min(k_t, most)
Source:      PAPO (arXiv 2507.06448): its implicit perception loss, an estimate of KL(pi(ordered) | pi(masked)) that is
             to grow, with gradient through both sides, so that what the policy says unseen is unlearned itself
Cost:        every row stands twice in the update, under each view, and none is left out for want of an advantage; a
             vision pass with gradient; nothing is scored and nothing further is completed
Departures:  frames are shuffled, where PAPO masks patches of an image, and questions on images have no such term; no
             entropy losses: PAPO adds them against runs in which the estimate explodes, which `most` bounds here; both
             sides have gradient, as in the paper's equation, where the released code holds the masked one fixed unless
             told otherwise
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Contrast, Evidence, Objective, Terms
from tasks.grpo.objectives.perturbations import AnyPerturbation, Shuffle


class Papo(Objective):
    """A term of the loss; no bonus."""

    kind: Literal["papo"] = "papo"
    gamma: float = Field(0.01, ge=0)
    """Weight of the divergence."""
    most: float = Field(10.0, gt=0)
    """Nats of a token beyond which its divergence has no gradient."""
    perturbation: AnyPerturbation = Shuffle()
    """The view compared with."""

    def asks(self) -> Asks:
        """The other view in the update."""
        return Asks((self.perturbation,), contrast=Contrast(self.gamma, self.most))

    def terms(self, evidence: Evidence) -> Terms | None:
        """Nothing: it is paid by no completion."""
        return None
