"""What a question needs, told from how often a model is right under each view of its clip. Pure.

A view counts as enough when more than half of the completions under it are right. Tags, the first that fits:

    unknown      the whole clip is not enough: nothing can be said
    text         the question alone is enough
    order        the clip played backwards is not enough: the answer hangs on the direction of time
    one_frame    one frame, or one frame held for the whole time, is enough
    any_order    the frames in a drawn order are enough
    order        only an order that keeps neighbours is: forwards or backwards, not shuffled (how often it shows)

and beside them the difficulty: too_easy (every completion on the whole clip right), too_hard (none), learnable.
Dropping what text answers is what VidGround (arXiv 2604.05117) did to Video-R1-260k by a closed judge.

The tags are the model's view of a question: one that it answers by luck is tagged by luck. A lucky guess on a frozen
clip is why reversal is asked first. With m options a guess is right with probability 1 / m, so that several completions
and draws of order a view are needed; `chance` says how often guesses alone would pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

FORWARD, REVERSED, SHUFFLED, FROZEN, ONE_FRAME, TEXT = "forward", "reversed", "shuffled", "frozen", "one_frame", "text"
VIEWS = (FORWARD, REVERSED, SHUFFLED, FROZEN, ONE_FRAME, TEXT)
EVIDENCE = ("unknown", "text", "one_frame", "any_order", "order")
DIFFICULTY = ("too_easy", "learnable", "too_hard")
ENOUGH = 0.5


class Agreement(NamedTuple):
    """How well a tag agrees with the truth, where the truth is known."""

    tagged: int
    true: int
    both: int

    @property
    def precision(self) -> float | None:
        """Share of tagged questions that are true."""
        return self.both / self.tagged if self.tagged else None

    @property
    def recall(self) -> float | None:
        """Share of true questions that are tagged."""
        return self.both / self.true if self.true else None


def evidence(right: Mapping[str, float]) -> str:
    """Tag of a question.

    Args:
        right: view -> share of right completions; views that a question has not (an image, a clip of one frame) may be
            absent, but `forward` and `text` are there.
    """
    if right[FORWARD] <= ENOUGH:
        return "unknown"
    if right[TEXT] > ENOUGH:
        return "text"
    if right.get(REVERSED, 1.0) <= ENOUGH:
        return "order"
    if SHUFFLED not in right or max(right.get(ONE_FRAME, 0.0), right.get(FROZEN, 0.0)) > ENOUGH:
        return "one_frame"  # an image shows all there is in its one frame
    return "any_order" if right[SHUFFLED] > ENOUGH else "order"


def difficulty(forward: float) -> str:
    """How hard a question is for the model: whether its completions on the whole clip differ."""
    return "too_easy" if forward >= 1 else "too_hard" if forward <= 0 else "learnable"


def chance(options: int, samples: int) -> float:
    """Probability that guesses among `options` pass as enough in `samples` completions; 0 without options."""
    if not options:
        return 0.0
    least = math.floor(samples * ENOUGH) + 1
    p = 1 / options
    return sum(math.comb(samples, k) * p**k * (1 - p) ** (samples - k) for k in range(least, samples + 1))


def agreement(tags: Sequence[str], temporal: Sequence[bool | None]) -> Agreement:
    """The tag `order` against what is known of the questions; those of unknown truth, and tagged unknown, are left out.

    Args:
        tags: of each question.
        temporal: whether only frame order answers it.
    """
    known = [
        (tag == "order", truth)
        for tag, truth in zip(tags, temporal, strict=True)
        if truth is not None and tag != "unknown"
    ]
    return Agreement(
        sum(tagged for tagged, _ in known),
        sum(bool(truth) for _, truth in known),
        sum(tagged and bool(truth) for tagged, truth in known),
    )
