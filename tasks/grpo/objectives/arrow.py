"""ArrowRL: pay a correct completion for being unlike what the policy says of the reversed clip.

With b_j the completions on reversed frames and sim the F1 of their words:

Formula:     R_i += alpha * (1 - mean over j of sim(o_i, b_j))  if a_i > correct_above
Source:      ArrowRL (arXiv 2506.03340): fidelity plus dissimilarity to answers on the reversed clip; CRPO (arXiv
             2605.21988) has the same as a change-or-stay reward over pairs of clips
Cost:        G~ more completions and one more vision pass; reversed completions reach no backward pass
Departures:  similarity by words, where ArrowRL asks a judge; only the forward clip's completions are trained, where
             CRPO trains both; the relation is always `change`: records do not say which questions reversal leaves as
             they are, and for those the term pays wording
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms, before_normalisation
from tasks.grpo.objectives.perturbations import Reverse


class Arrow(Objective):
    """A bonus by dissimilarity to completions on the reversed clip, before normalisation."""

    kind: Literal["arrow"] = "arrow"
    completions: int = Field(4, ge=1)
    """G~: completions sampled on the reversed clip."""
    alpha: float = Field(0.5, ge=0)
    """What sharing no word with them pays."""
    correct_above: float = Field(0.1, ge=0, le=1)
    """A completion is correct when its accuracy is greater than this."""

    def asks(self) -> Asks:
        """G~ completions on the reversed clip."""
        return Asks((Reverse(),), completions=self.completions)

    def terms(self, evidence: Evidence) -> Terms | None:
        """The formula above."""
        if not evidence.perturbed_texts:
            return None
        return before_normalisation(
            [
                self.alpha * (1 - _similarity(text, evidence.perturbed_texts)) if value > self.correct_above else 0.0
                for value, text in zip(evidence.accuracy, evidence.texts, strict=True)
            ]
        )


def _similarity(text: str, others: Sequence[str]) -> float:
    return sum(word_f1(text, other) for other in others) / len(others)


def word_f1(first: str, second: str) -> float:
    """F1 of two texts' words, repeats counted; 1 for two empty texts."""
    words = Counter(first.split()), Counter(second.split())
    total = sum(map(Counter.total, words))
    return 2 * (words[0] & words[1]).total() / total if total else 1.0
