"""Video-KTR: only the tokens that hang on the clip, on its order, or on nothing certain, get the advantage.

Formula:     v_t = |log pi(o_t | ordered) - log pi(o_t | blind)|      blind: the frames frozen
             w_t = |log pi(o_t | ordered) - log pi(o_t | shuffled)|
             h_t = -log pi(o_t | ordered)
             A_i,t = A_i  if t is among the top `ratio` of its completion by v, w or h, else 0
Source:      Video-KTR (arXiv 2601.19686): the union of three top-ratio masks; its released code
Cost:        forwards of the G completions without gradient, one ordered, one frozen, one shuffled; two vision passes
Departures:  frames are frozen where Video-KTR masks them; h is the token's surprisal, not the entropy of its
             distribution, of which it is one draw. From the released code: v and w are sizes, where it ranks signed
             differences; the top is that of each completion, not of all tokens of the group; other tokens keep their KL
             term and count in the loss's divisor, so that a mask also makes the step smaller; completions on images
             keep all their tokens, where it masks them by v and h
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from tasks.grpo.objectives.base import Asks, Evidence, Objective, Terms, after_normalisation
from tasks.grpo.objectives.perturbations import Freeze, Shuffle


class Ktr(Objective):
    """A mask over tokens; no bonus."""

    kind: Literal["ktr"] = "ktr"
    ratio: float = Field(0.2, gt=0, le=1)
    """Share of a completion's tokens that each of the three masks keeps, one at least."""

    def asks(self) -> Asks:
        """Log-probabilities of the completions on ordered, frozen and shuffled frames."""
        return Asks((Freeze(), Shuffle()), scored=True)

    def terms(self, evidence: Evidence) -> Terms | None:
        """The formula above."""
        if evidence.drops is None or evidence.log_probs is None:
            return None
        weights = [
            _mask([map(abs, frozen), map(abs, shuffled), (-value for value in log_probs)], self.ratio)
            for frozen, shuffled, log_probs in zip(*evidence.drops, evidence.log_probs, strict=True)
        ]
        return after_normalisation([0.0] * len(weights), weights)


def _mask(measures: Sequence[Iterable[float]], ratio: float) -> list[float]:
    """1 for tokens among the top `ratio` of any measure, else 0."""
    columns = [list(measure) for measure in measures]
    kept: set[int] = set()
    for column in columns:
        count = max(1, math.ceil(ratio * len(column))) if column else 0
        kept |= {token for _, token in heapq.nlargest(count, zip(column, itertools.count(), strict=False))}
    return [float(t in kept) for t in range(len(columns[0]))]
