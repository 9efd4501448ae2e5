"""The contrast of T-GRPO: does the model answer better when frames come in their true order?

For one video prompt, with accuracy a_i of its G answers on ordered frames and b_j of its G~ answers on shuffled frames:

    p = mean a_i,  p~ = mean b_j,  correct_i = a_i > correct_above

    reward      R_i += alpha             for correct i, if p >= mu * p~          before normalisation
    advantage   A_i += alpha * (p - p~)  for correct i, if p > p~                after normalisation
    logprob     A_i += alpha * s_i       for correct i                           after normalisation
    logprob     A_i += alpha * (s_i - mean of s over the correct)  for correct i, with `centred`

    s_i = 1 - exp(-max(d_i, 0) / nats),  d_i = log pi(o_i | ordered) - log pi(o_i | shuffled), summed over o_i's tokens

In `logprob` mode the tokens of an answer may also share its advantage by what order decides of each (`token_share`, f):

    A_i,t = A_i * (1 - f + f * r_t / mean r),  r_t = 1 - exp(-|d_i,t| / nats)

Source of `reward`: Video-R1 (arXiv 2503.21776), section 3.3, in the form of its released code: mu = 0.8 and
"correct" meaning accuracy above 0.1. The text of the paper asks for p >= p~ (mu = 1). As in the code, p and p~ are
means of the accuracy reward, which is continuous for OCR, free-form and regression; the paper speaks of the
proportion correct.

Departures: a shuffle is never the true order; each step draws its own; `bonus_rate` counts a prompt only when some
    answer was paid (the published metric also counts p = p~ = 0, and images as 0.5).

`advantage` is ours. With two-valued rewards `reward` is an affine change of R that group normalisation takes back;
a term behind the normalisation survives, and its size follows how much order helped.

`logprob` is ours too. It asks the same answer under both orders instead of sampling G~ new ones: one forward without
gradient in place of a second generation, and a value for every answer instead of one for the prompt. With nats = 1,
s_i is the share of the answer's probability that shuffling takes away. It is in [0, 1), so that a long answer, whose
d_i adds up over many tokens, earns no more than alpha; answers of hundreds of tokens want a larger `nats`. The
difference is taken from the policy that sampled the answer and is no part of the gradient.

With `centred` the correct answers of a prompt exchange advantage and keep its sum: what one that hangs on order gains,
one that reads the same on shuffled frames pays. It tells apart what the reward cannot, two right answers of which one
was got by a shortcut. Where all hang on order alike it adds nothing, while the plain form pushes them all up.

The weights of `token_share` have mean 1: an answer's tokens exchange advantage and keep its sum. Words that read the
same in any order of frames ("The", "starts at") then learn less from the answer, and the word that order decides learns
more; |d|, because a wrong word may be likelier on shuffled frames. Weighting tokens by how much they hang on what is
seen is also done by VPPO (arXiv 2510.09285), there against a masked image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

NEGLIGIBLE = 0.02
"""Mean r, and spread of s over correct answers, under which their differences are noise."""


class Contrast(NamedTuple):
    """Outcome for one prompt."""

    ordered: float
    """p."""
    shuffled: float | None
    """p~; None when no answer was sampled on shuffled frames."""
    bonus: list[float]
    """G terms: of the reward or of the advantage, as the mode says."""

    @property
    def gap(self) -> float | None:
        """P - p~."""
        return None if self.shuffled is None else self.ordered - self.shuffled

    @property
    def paid(self) -> bool:
        """Whether any answer got a bonus."""
        return any(self.bonus)


def contrast(
    accuracy: Sequence[float],
    accuracy_shuffled: Sequence[float],
    *,
    mode: str,
    alpha: float,
    mu: float,
    correct_above: float,
) -> Contrast:
    """Compare one prompt's answers on ordered frames (G accuracies) with those on shuffled frames (G~).

    Raises:
        ValueError: unknown mode, or a group without answers.
    """
    if not accuracy or not accuracy_shuffled:
        raise ValueError(f"nothing to compare: {len(accuracy)} ordered and {len(accuracy_shuffled)} shuffled answers")
    ordered = sum(accuracy) / len(accuracy)
    shuffled = sum(accuracy_shuffled) / len(accuracy_shuffled)
    if mode == "reward":
        pay = alpha if ordered >= mu * shuffled else 0.0
    elif mode == "advantage":
        pay = alpha * max(ordered - shuffled, 0.0)
    else:
        raise ValueError(f"mode {mode!r} compares no groups; one of reward, advantage")
    return Contrast(ordered, shuffled, [pay if value > correct_above else 0.0 for value in accuracy])


def order_share(drops: Sequence[float], nats: float) -> list[float]:
    """s_i of each d_i; 0 where shuffling made the answer likelier."""
    return [1 - math.exp(-max(drop, 0.0) / nats) for drop in drops]


def token_weights(drops: Sequence[float], *, nats: float, share: float) -> list[float]:
    """What the advantage of an answer is multiplied by at each of its tokens; all 1 when order decides none of them.

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


def likelihood_contrast(
    accuracy: Sequence[float],
    drops: Sequence[float],
    *,
    alpha: float,
    nats: float,
    correct_above: float,
    centred: bool = True,
) -> Contrast:
    """Mode `logprob` for one prompt: G accuracies on ordered frames, and how much each answer lost by shuffling.

    Raises:
        ValueError: not one drop per accuracy.
    """
    shares = list(zip(accuracy, order_share(drops, nats), strict=True))
    paid = [share for value, share in shares if value > correct_above]
    if centred and paid and max(paid) - min(paid) < NEGLIGIBLE:
        alpha = 0.0
    base = sum(paid) / len(paid) if centred and paid else 0.0
    bonus = [alpha * (share - base) if value > correct_above else 0.0 for value, share in shares]
    return Contrast(sum(accuracy) / len(accuracy), None, bonus)
