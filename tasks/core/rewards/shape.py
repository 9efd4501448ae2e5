"""Rewards for the form of a completion: its tags and its length."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.core.text.tags import is_well_formed

_PUBLISHED_FORMAT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)


def format_reward(text: str, variant: str = "robust") -> float:
    """1.0 when the text is a think block and an answer block, else 0.0.

    strict: the published pattern on the unstripped text; a leading space fails, a second answer block passes.
    robust: `is_well_formed`.

    Raises:
        ValueError: unknown variant.
    """
    if variant == "strict":
        return float(_PUBLISHED_FORMAT.fullmatch(text) is not None)
    if variant == "robust":
        return float(is_well_formed(text))
    raise ValueError(f"variant {variant!r}; one of strict, robust")


def length_reward(
    accuracies: Sequence[float],
    tokens: Sequence[int],
    *,
    omega: float,
    min_tokens: int,
    max_tokens: int,
    correct_above: float = 0.1,
) -> list[float]:
    """Bonus for each completion of one group (Video-R1, section 3.3).

    `omega` for a correct completion of min_tokens..max_tokens tokens, both included, when more than one of the group is
    correct; else 0. A completion is correct when its accuracy is greater than `correct_above`.

    Raises:
        ValueError: not one token count per accuracy.
    """
    if len(accuracies) != len(tokens):
        raise ValueError(f"{len(accuracies)} accuracies, {len(tokens)} token counts")
    correct = [accuracy > correct_above for accuracy in accuracies]
    if sum(correct) <= 1:
        return [0.0] * len(tokens)
    return [omega if good and min_tokens <= n <= max_tokens else 0.0 for good, n in zip(correct, tokens, strict=True)]
