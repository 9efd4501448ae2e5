"""Placebo of `exchange`: the same terms, dealt out at random among the right completions of the prompt.

Formula:     A_i += the term that `exchange` gives completion p(i), p a permutation of the right ones drawn by the seed
Source:      ours; a control, not a method
Cost:        as `exchange`
Departures:  none

It has the size, the sum and the prompts of `exchange` and knows nothing of which completion reads time. What both gain
over plain GRPO comes from breaking ties in groups that are all right; only the difference between them comes from time.
"""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms, after_normalisation
from tasks.grpo.objectives.exchange import exchange
from tasks.grpo.objectives.perturbations import AnyPerturbation, Reverse, Shuffle


class Permuted(Objective):
    """The terms of `exchange` among the right completions in a drawn order."""

    kind: Literal["permuted"] = "permuted"
    alpha: float = Field(0.5, ge=0)
    """As in `exchange`."""
    right_above: float = Field(0.99, ge=0, lt=1)
    """As in `exchange`."""
    perturbations: tuple[AnyPerturbation, ...] = Field((Reverse(), Shuffle()), min_length=2)
    """As in `exchange`."""

    def asks(self) -> Asks:
        """As `exchange`."""
        return Asks(self.perturbations, scored=True)

    def terms(self, evidence: Evidence) -> Terms | None:
        """The formula above."""
        if evidence.drops is None:
            return None
        pay = exchange(evidence, self.alpha, self.right_above)
        right = [i for i, value in enumerate(evidence.accuracy) if value > self.right_above]
        dealt = [pay[i] for i in right]
        random.Random(evidence.seed).shuffle(dealt)
        for i, value in zip(right, dealt, strict=True):
            pay[i] = value
        return after_normalisation(pay)
