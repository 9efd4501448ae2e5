"""The published rules without their holes; the variant used for training and for our own tables.

- letter: "A", "(A)", "A.", "A) foo", "a", "**A**", "Answer: A"; never a letter that begins a word, never two letters;
- number: read by `numbers.parse_number`; equal to two decimals, and below 0.1 to 5 % (two decimals would call 0.001 and
  0.004 equal);
- transcription: word error rate after Unicode NFKC, white space and surrounding quotes are evened out; case counts;
- free text: ROUGE over words of any script, so that one-word truths reach 1 and Chinese scores at all;
- regression: relative error; for a truth of 0, where that does not exist, the absolute error.
NaN and infinity never score. An empty answer or truth never scores.
"""

from __future__ import annotations

import re
import unicodedata

from tasks.core.rewards.measures import rouge_mean_any_script, word_error_rate, words
from tasks.core.rewards.numbers import parse_number
from tasks.core.rewards.score import Verdict

_DECIMALS_TOLERANCE = 0.005
_SMALL = 0.1
_SMALL_TOLERANCE = 0.05
_SLACK = 1e-9

_LEAD = re.compile(
    r"(?:the\s+)?(?:(?:correct|final|best)\s+)?(?:answer|option|choice)\s*(?:is)?\s*[:=]?\s*", re.IGNORECASE
)
_DECORATION = re.compile(r"\\(?:boxed|text)|[*_$`{}\"']")
_BRACKETED = re.compile(r"[(\[]\s*([A-Za-z])\s*[)\]](.*)", re.DOTALL)
_BARE = re.compile(r"([A-Za-z])(?:\s*(?:\)|[.:](?=\s|$))(.*)|\s*)", re.DOTALL)
_MORE_LETTERS = re.compile(r"(?:[\s,/&+|]*(?:or|and)?[\s,/&+|]*[(\[]?\b[A-Z]\b[)\].:]?)+\s*")


def letter(answer: str, truth: str) -> Verdict:
    """1 when both name the same option letter, else 0."""
    out, gold = parse_letter(answer), parse_letter(truth)
    if out is None or gold is None:
        return Verdict(0.0, False, "not a letter")
    return Verdict(float(out == gold), True, "letter")


def number(answer: str, truth: str) -> Verdict:
    """1 when the numbers are equal within the tolerance above, else 0."""
    out, gold = parse_number(answer), parse_number(truth)
    if out is None or gold is None:
        return Verdict(0.0, False, "not a number")
    tolerance = _DECIMALS_TOLERANCE if abs(gold) >= _SMALL else _SMALL_TOLERANCE * abs(gold)
    return Verdict(float(abs(out - gold) <= tolerance + _SLACK), True, "number")


def transcription(answer: str, truth: str) -> Verdict:
    """1 - word error rate, at least 0."""
    out, gold = _even(answer), _even(truth)
    if not out or not gold:
        return Verdict(0.0, False, "no text")
    return Verdict(max(0.0, 1.0 - word_error_rate(gold, out)), True, "wer")


def free_text(answer: str, truth: str) -> Verdict:
    """Mean F measure of ROUGE-1, -2 and -L."""
    if not words(answer) or not words(truth):
        return Verdict(0.0, False, "no text")
    return Verdict(rouge_mean_any_script(truth, answer), True, "rouge")


def regression(answer: str, truth: str) -> Verdict:
    """1 - relative error (absolute error for a truth of 0), at least 0."""
    out, gold = parse_number(answer), parse_number(truth)
    if out is None or gold is None:
        return Verdict(0.0, False, "not a number")
    scale = abs(gold) if gold != 0 else 1.0
    return Verdict(max(0.0, 1.0 - abs(out - gold) / scale), True, "relative error")


def parse_letter(text: str) -> str | None:
    """The one option letter an answer names, in upper case, or None."""
    plain = _DECORATION.sub("", text).strip()
    lead = _LEAD.match(plain)
    plain = plain[lead.end() :] if lead else plain
    found = _BRACKETED.fullmatch(plain) or _BARE.fullmatch(plain)
    if found is None:
        return None
    chosen, rest = found.group(1).upper(), (found.group(2) or "").strip()
    if rest and _MORE_LETTERS.fullmatch(rest):
        return None
    return chosen


def _even(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split()).strip("\"'“”‘’`").strip()
