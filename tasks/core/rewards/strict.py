"""The published rules (github.com/tulerfeng/Video-R1, src/r1-v/src/open_r1/grpo.py), bit for bit.

Their holes are kept, for comparison with published runs:
- a letter counts only alone: "A.", "(A)" and "a" are wrong;
- numbers differ when only one of them has "." or ",": "42" and "42.0", "1,000" and "1000";
- "inf" equals "inf"; a regression answer of "nan" scores 1; a truth of 0 is never reached, not even by "0";
- free-form truths of one word reach 2/3 at most; two empty letters or transcriptions are equal.
Where the published code raises an exception and scores 0, these functions return 0 and `parsed=False`.
"""

from __future__ import annotations

from tasks.core.rewards.measures import rouge_mean, word_error_rate
from tasks.core.rewards.score import Verdict

_EPSILON = 1e-9


def letter(answer: str, truth: str) -> Verdict:
    """1 when the texts are equal, else 0."""
    return Verdict(float(answer.strip() == truth.strip()), bool(answer), "letter")


def number(answer: str, truth: str) -> Verdict:
    """1 when both agree in having a "." or "," and are equal to two decimals, else 0."""
    out, gold = as_number(answer), as_number(truth)
    if out is None or gold is None:
        return Verdict(0.0, False, "not a number")
    if has_decimal_mark(answer) != has_decimal_mark(truth):
        return Verdict(0.0, True, "decimal mark")
    return Verdict(float(round(out, 2) == round(gold, 2)), True, "number")


def transcription(answer: str, truth: str) -> Verdict:
    """1 - word error rate, at least 0."""
    return Verdict(max(0.0, 1.0 - word_error_rate(truth, answer)), bool(answer), "wer")


def free_text(answer: str, truth: str) -> Verdict:
    """Mean F measure of ROUGE-1, -2 and -L."""
    return Verdict(rouge_mean(truth, answer), bool(answer), "rouge")


def regression(answer: str, truth: str) -> Verdict:
    """1 - relative error, in [0, 1]."""
    out, gold = as_number(answer), as_number(truth)
    if out is None or gold is None:
        return Verdict(0.0, False, "not a number")
    relative = (abs(out - gold) + _EPSILON) / (abs(gold) + _EPSILON)
    # The order of the arguments matters: max(0.0, nan) is 0.0.
    return Verdict(1.0 - min(1.0, max(0.0, relative)), True, "relative error")


def as_number(text: str) -> float | None:
    """The text as a number, without its commas; None when it is not a number."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def has_decimal_mark(text: str) -> bool:
    """Whether a text holds a "." or ","."""
    return "." in text or "," in text
