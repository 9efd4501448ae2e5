"""Control: right completions that the policy finds unlikely are paid more, whatever they read.

With the G completions ranked by likelihood, rank 0 the likeliest:

Formula:     R_i += -beta * (G - rank_i) / G  if a_i > correct_above      before normalisation
Source:      the unlikeliness reward of arXiv 2506.02355, as a term added to the reward, and likelihood as the mean over
             tokens, as in its released code; a control, not a method
Cost:        forwards of the G completions without gradient, one ordered and one reversed, and a vision pass: the
             reversed one is read by nothing, so that the control costs what a contrast with one view does
Departures:  added where the source multiplies, which is the same for a reward of 1; the released code fines every
             correct completion beta / G less, the least likely one nothing

It breaks ties in groups that are all right, as any bonus does, and frees a minority strategy without asking whether
that strategy reads time.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms, before_normalisation, token_means
from tasks.grpo.objectives.perturbations import Reverse


class Unlikely(Objective):
    """A fine for being likely, before normalisation."""

    kind: Literal["unlikely"] = "unlikely"
    beta: float = Field(0.25, ge=0, le=1)
    """The fine of the likeliest completion."""
    correct_above: float = Field(0.1, ge=0, le=1)
    """A completion is correct when its accuracy is greater than this."""

    def asks(self) -> Asks:
        """Log-probabilities of the completions."""
        return Asks((Reverse(),), scored=True)

    def terms(self, evidence: Evidence) -> Terms | None:
        """The formula above."""
        if evidence.log_probs is None:
            return None
        likelihood = token_means(evidence.log_probs)
        size = len(likelihood)
        ranks = {i: rank for rank, i in enumerate(sorted(range(size), key=lambda i: -likelihood[i]))}
        return before_normalisation(
            [
                -self.beta * (size - ranks[i]) / size if value > self.correct_above else 0.0
                for i, value in enumerate(evidence.accuracy)
            ]
        )
