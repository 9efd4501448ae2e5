"""Results of the reward rules."""

from typing import NamedTuple


class Verdict(NamedTuple):
    """Outcome of one rule on (answer, truth)."""

    value: float
    """Reward in [0, 1]."""
    parsed: bool
    """Whether the answer could be read as its type asks; a wrong answer is parsed, an unreadable one is not."""
    rule: str
    """Name of the comparison that decided, or why there was none."""


class Score(NamedTuple):
    """Answer reward of one completion."""

    value: float
    """Reward in [0, 1]; never NaN."""
    extracted: str
    """Text inside the first answer block; "" when there is none."""
    parsed: bool
    """See `Verdict.parsed`."""
    rule: str
    """See `Verdict.rule`."""
