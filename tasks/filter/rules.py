"""One function per rule; each says whether an annotated row may stay.

The published filter is the reward threshold alone (0.6); the paper speaks of "basic rule-based filtering to
remove low-quality or inconsistent outputs" without numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tasks.core.schemas.records import CotRow
from tasks.core.text import is_well_formed, think_of

NGRAM_WORDS = 4

Rule = Callable[[CotRow], bool]
"""True when the row may stay. `CotRow.reward` is the one this stage computed."""


def build_rules(
    *,
    min_reward: float,
    min_think_chars: int,
    max_think_chars: int,
    max_repeat_share: float,
    min_ascii_share: float,
) -> Mapping[str, Rule]:
    """Rules by name, in the order they are counted: a rejected row is charged to the first it breaks."""
    return {
        "unanswered": lambda row: row.finish_reason != "error",
        "reward": lambda row: row.reward > min_reward,
        "format": lambda row: is_well_formed(row.completion),
        "length": lambda row: min_think_chars <= len(reasoning(row)) <= max_think_chars,
        "language": lambda row: ascii_share(reasoning(row)) >= min_ascii_share,
        "repetition": lambda row: repeat_share(reasoning(row)) <= max_repeat_share,
    }


def reasoning(row: CotRow) -> str:
    """Inside of the first think block; "" when there is none."""
    return think_of(row.completion) or ""


def ascii_share(text: str) -> float:
    """Share of ASCII among the letters; 1 for a text without letters (sums, say)."""
    letters = [character for character in text if character.isalpha()]
    return sum(map(str.isascii, letters)) / len(letters) if letters else 1.0


def repeat_share(text: str) -> float:
    """Share of the word 4-grams that stand earlier in the text already; 0 when there are none."""
    words = text.lower().split()
    grams = [tuple(words[i : i + NGRAM_WORDS]) for i in range(len(words) - NGRAM_WORDS + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
