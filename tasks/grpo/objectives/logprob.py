"""Pay a correct completion for the log-probability that it loses when its frames are shuffled.

Formula:     d_i = log pi(o_i | ordered) - log pi(o_i | perturbed), summed over o_i's tokens, mean over `perturbations`
             s_i = 1 - exp(-max(d_i, 0) / nats)
             A_i += alpha * (s_i - mean of s over the correct)   for a_i > correct_above, with `centred`
             A_i += alpha * s_i                                  otherwise
             A_i,t = A_i * (1 - f + f * r_t / mean r),  r_t = 1 - exp(-|d_i,t| / nats),  f = `token_share`
Source:      comparing one completion under ordered and shuffled frames is TaRO's (arXiv 2606.09248), which pays correct
             completions above the group's mean, before normalisation. Weights by token: Video-KTR (arXiv 2601.19686)
             masks tokens by such differences, VPPO (arXiv 2510.09285) weights them by those to a masked image.
             Ours: the term behind the normalisation, its sum of zero, the saturating s.
Cost:        forwards of the G completions without gradient, one ordered and one a perturbation, and a vision pass a
             perturbation; no further completions
Departures:  from TaRO: all frames are shuffled, not those around an event; d is a sum over tokens, not their mean; the
             pay grows with d instead of having one step

s_i lies in [0, 1), so that a long completion, whose d_i adds up over many tokens, earns no more than alpha. With
nats = 1 it is the share of the completion's probability that shuffling takes away; completions of hundreds of tokens
saturate there and want a larger `nats`. d is no part of the gradient.

With `centred` the correct completions of a prompt exchange advantage and keep its sum: what one that hangs on order
gains, one that reads the same on shuffled frames pays. Where all hang on order alike nothing is added. The weights of
`token_share` have mean 1, so a completion's tokens exchange advantage and keep its sum; |d|, because a wrong word may
be likelier on shuffled frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms, after_normalisation, mean_over_views
from tasks.grpo.objectives.perturbations import AnyPerturbation, Shuffle

NEGLIGIBLE = 0.02
"""Mean r, and spread of s over correct completions, under which their differences are noise."""


class LogProb(Objective):
    """How much likelier a completion is on ordered than on shuffled frames, after normalisation."""

    kind: Literal["logprob"] = "logprob"
    alpha: float = Field(2.0, ge=0)
    """What losing all probability pays; 0 leaves token weights alone."""
    nats: float = Field(1.0, gt=0)
    """The log-probability lost to shuffling, summed over a completion, at which 63 % of alpha is paid."""
    centred: bool = True
    """Correct completions of a prompt exchange advantage and keep its sum; false pays every one its own s."""
    token_share: float = Field(0.0, ge=0, le=1)
    """f: share of a completion's advantage that its tokens get by how much frame order decides each of them."""
    correct_above: float = Field(0.1, ge=0, le=1)
    """A completion is correct when its accuracy is greater than this."""
    perturbations: tuple[AnyPerturbation, ...] = Field((Shuffle(),), min_length=1)
    """Views compared with; d is the mean over them. The same shuffle twice is two draws."""

    def asks(self) -> Asks:
        """Log-probabilities of the completions on ordered and perturbed frames."""
        return Asks(self.perturbations, scored=True)

    def terms(self, evidence: Evidence) -> Terms | None:
        """The formula above."""
        if evidence.drops is None:
            return None
        drops = mean_over_views(evidence.drops)
        shares = order_share([sum(tokens) for tokens in drops], self.nats)
        weights = [token_weights(tokens, nats=self.nats, share=self.token_share) for tokens in drops]
        return after_normalisation(self._bonus(evidence.accuracy, shares), weights if self.token_share else None)

    def _bonus(self, accuracy: Sequence[float], shares: Sequence[float]) -> list[float]:
        correct = [share for value, share in zip(accuracy, shares, strict=True) if value > self.correct_above]
        alike = self.centred and correct and max(correct) - min(correct) < NEGLIGIBLE
        alpha = 0.0 if alike else self.alpha
        base = sum(correct) / len(correct) if self.centred and correct else 0.0
        return [
            alpha * (share - base) if value > self.correct_above else 0.0
            for value, share in zip(accuracy, shares, strict=True)
        ]


def order_share(drops: Sequence[float], nats: float) -> list[float]:
    """s_i of each d_i; 0 where shuffling made the completion likelier."""
    return [1 - math.exp(-max(drop, 0.0) / nats) for drop in drops]


def token_weights(drops: Sequence[float], *, nats: float, share: float) -> list[float]:
    """What a completion's advantage is multiplied by at each of its tokens; all 1 when order decides none of them.

    Args:
        drops: d_t of its tokens, nats.
        nats: as for `order_share`.
        share: f.
    """
    reliance = [1 - math.exp(-abs(drop) / nats) for drop in drops]
    mean = sum(reliance) / max(len(reliance), 1)
    if mean < NEGLIGIBLE:
        return [1.0] * len(reliance)
    return [1 - share + share * value / mean for value in reliance]
