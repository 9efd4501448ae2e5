"""The contrast of T-GRPO: does the model answer better when frames come in their true order?

For one video prompt, with accuracy a_i of its G answers on ordered frames and b_j of its G~ answers on shuffled frames:

    p = mean a_i,  p~ = mean b_j,  correct_i = a_i > correct_above

    reward      R_i += alpha             for correct i, if p >= mu * p~          before normalisation
    advantage   A_i += alpha * (p - p~)  for correct i, if p > p~                after normalisation

Source of `reward`: Video-R1 (arXiv 2503.21776), section 3.3, in the form of its released code: mu = 0.8 and
"correct" meaning accuracy above 0.1. The text of the paper asks for p >= p~ (mu = 1). As in the code, p and p~ are
means of the accuracy reward, which is continuous for OCR, free-form and regression; the paper speaks of the
proportion correct.

Departures: a shuffle is never the true order; each step draws its own; `bonus_rate` counts a prompt only when some
    answer was paid (the published metric also counts p = p~ = 0, and images as 0.5).

`advantage` is ours. With two-valued rewards `reward` is an affine change of R that group normalisation takes back;
a term behind the normalisation survives, and its size follows how much order helped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Contrast(NamedTuple):
    """Outcome for one prompt."""

    ordered: float
    """p."""
    shuffled: float
    """p~."""
    bonus: list[float]
    """G terms: of the reward or of the advantage, as the mode says."""

    @property
    def gap(self) -> float:
        """P - p~."""
        return self.ordered - self.shuffled

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
        raise ValueError(f"mode {mode!r}; one of reward, advantage")
    return Contrast(ordered, shuffled, [pay if value > correct_above else 0.0 for value in accuracy])
