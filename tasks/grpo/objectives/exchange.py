"""Right completions of a prompt exchange advantage by how much each hangs on time, in units of the group itself.

Over the n >= 2 fully right completions i of a prompt and the views k:

Formula:     d_ki = mean over tokens of log pi(o_i | forward) - log pi(o_i | view k)
             z_ki = (d_ki - mean_i) / std_i,   z_i = mean over k of z_ki
             r    = agreement of the views: mean correlation of z_k and z_l over pairs k < l, at least 0
             A_i += alpha * r * (c_i - mean c),  c_i = clip(z_i, -1.5, 1.5)     summing to 0
Source:      ours. Comparing one completion under two orders of the frames, against its group, is TaRO's (arXiv
             2606.09248); that reversal changes exactly what time decides is ArrowRL's and CRPO's (arXiv 2506.03340,
             2605.21988)
Cost:        forwards of the G completions without gradient, one forward and one a view, and a vision pass a view; no
             further completions
Departures:  none; it is ours

What each part is for. Reversed frames show the same figures, so that naming one or another loses nothing, and every
trend turns round, where a shuffle may keep it. Means over tokens and units of the group's own deviation leave no
parameter whose right value depends on the length of a completion. Deviations of noise are as large as deviations of
meaning in these units, but two views do not agree on noise: r lets through only what both see. (Of two right
completions two views agree wholly or not at all, by noise every second time.) A completion that is half right is paid
by its reward alone. Rewards of two values lie at least 1.73 apart after normalisation by the group's deviation (two
right, one wrong) and the bonus spans at most 3 alpha: no right completion falls below a wrong one while alpha <= 0.57
(0.33 with `scale_rewards: none`, where they lie 1 apart).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms, after_normalisation, token_means
from tasks.grpo.objectives.perturbations import AnyPerturbation, Reverse, Shuffle

LARGEST = 1.5
"""Deviations beyond which a completion gains or pays no more."""
NEGLIGIBLE = 1e-4
"""Nats a token: a view whose drops differ by less tells rounding apart."""


class Exchange(Objective):
    """The exchange above, after normalisation."""

    kind: Literal["exchange"] = "exchange"
    alpha: float = Field(0.5, ge=0)
    """What a deviation pays where the views agree; up to 0.57 no right completion falls below a wrong one."""
    right_above: float = Field(0.99, ge=0, lt=1)
    """A completion takes part when its accuracy is greater than this."""
    perturbations: tuple[AnyPerturbation, ...] = Field((Reverse(), Shuffle()), min_length=2)
    """Views compared with; the same shuffle twice is two draws."""

    def asks(self) -> Asks:
        """Log-probabilities of the completions on the frames as they are and under every view."""
        return Asks(self.perturbations, scored=True)

    def terms(self, evidence: Evidence) -> Terms | None:
        """The formula above."""
        if evidence.drops is None:
            return None
        return after_normalisation(exchange(evidence, self.alpha, self.right_above))


def exchange(evidence: Evidence, alpha: float, right_above: float) -> list[float]:
    """G terms of the formula above; 0 for completions that take no part."""
    assert evidence.drops is not None
    right = [i for i, value in enumerate(evidence.accuracy) if value > right_above]
    pay = [0.0] * len(evidence.accuracy)
    if len(right) > 1:
        views = [[token_means(view)[i] for i in right] for view in evidence.drops]
        scores = [deviations(view) for view in views]
        agreed = agreement(scores)
        z = [statistics.fmean(column) for column in zip(*scores, strict=True)]
        clipped = [max(-LARGEST, min(LARGEST, value)) for value in z]
        mean = statistics.fmean(clipped)
        for i, value in zip(right, clipped, strict=True):
            pay[i] = alpha * agreed * (value - mean)
    return pay


def deviations(values: Sequence[float]) -> list[float]:
    """Values minus their mean in units of their standard deviation (over n); all 0 where they hardly differ."""
    if max(values) - min(values) < NEGLIGIBLE:
        return [0.0] * len(values)
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    return [(value - mean) / deviation for value in values]


def agreement(scores: Sequence[Sequence[float]]) -> float:
    """Mean correlation over pairs of views of standardised scores, at least 0; a view of zeros agrees with none."""
    pairs = [(first, second) for k, first in enumerate(scores) for second in scores[k + 1 :]]
    correlations = [statistics.fmean(a * b for a, b in zip(*pair, strict=True)) for pair in pairs]
    return max(0.0, statistics.fmean(correlations))
