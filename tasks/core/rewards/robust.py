"""The published rules without their holes; the variant used for training and for our own tables.

- letter: "A", "(A)", "A.", "A) foo", "A, foo", "a", "**A**", "Answer: A", "A because", "选项A"; never a letter that
  begins a word, never two letters;
- number: read by `numbers.parse_number`; equal to two decimals, and below 0.1 to 5 % (two decimals would call 0.001 and
  0.004 equal);
- transcription: word error rate after Unicode NFKC, single spaces and without surrounding quotes; case counts;
  a Chinese, Japanese or Korean character is a word, since those scripts put no space between words;
- free text: ROUGE over words of any script, so that one-word truths reach 1 and Chinese scores at all;
- regression: relative error; for a truth of 0, where that does not exist, the absolute error.
NaN and infinity never score. An empty answer or truth never scores.
"""

from __future__ import annotations

import re
import unicodedata

from tasks.core.rewards.measures import apart, rouge_mean_any_script, word_error_rate, words
from tasks.core.rewards.numbers import parse_number
from tasks.core.rewards.score import Verdict

_DECIMALS_TOLERANCE = 0.005
_SMALL = 0.1
_SMALL_TOLERANCE = 0.05
_SLACK = 1e-9

_LEAD = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:i\s+(?:think|believe|choose|pick|select)\s+(?:that\s+)?)?"
    r"(?:(?:the|my|it)\s+)?(?:(?:correct|right|final|best)\s+)?(?:answer|option|choice|letter)\b\s*(?:is\b|would\s+be\b)?\s*[:=]?\s*"
    r"|i\s+(?:choose|pick|select)\s+|it(?:s|\s+is)\s+"
    r"|(?:所以|因此|故)?(?:应该|应|我)?(?:(?:正确|最终|最佳)的?)?(?:答案|选项|选择|选)(?:应该|应)?(?:是|为|选)?\s*[:：]?\s*",
    re.IGNORECASE,
)
_DECORATION = re.compile(r"\\(?:boxed|text|mathrm|mathbf|textbf|rm|bf)(?![a-z])|\\[()\[\]]|[*_$`{}\"'“”‘’]")
_CHOICE = re.compile(
    r"[(\[]\s*(?P<bracketed>[A-Za-z])\s*[)\]](?P<after>.*)"
    r"|(?P<bare>[A-Za-z])(?:"
    r"\s*(?P<label>\)|[.:](?=\s|$|[\u3400-\u9fff])|\.(?=[a-z]{2})|[、。]|,(?=\s|[\u3400-\u9fff]))(?P<text>.*)"
    r"|\s*\n(?P<lines>.*)"
    r"|\s+(?:-\s+|(?:because|since|as|due|for|is\s+(?:the\s+)?(?:correct|right|best|answer))\b)(?P<reason>.*)"
    r"|\s*(?:选项|项)(?P<item>.*)"
    r"|\s*)",
    re.DOTALL | re.IGNORECASE,
)
_MORE_LETTERS = re.compile(r"(?:[\s,/&+|]*(?:or|and)?[\s,/&+|]*[(\[]?\b[A-Z]\b[)\].:]?)+\s*")
_LABELLED = re.compile(r"[(\[]?[A-Z][)\].:]")
_LONE_LETTER = re.compile(r"[A-Za-z]")
_SECOND_CHOICE = re.compile(r"\b(?:or|and)\s+[(\[]?[A-Z][)\].:]|[或和]\s*[A-Z](?![A-Za-z])")
_LEADS = 3


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
    out, gold = evened(answer), evened(truth)
    if not out or not gold:
        return Verdict(0.0, False, "no text")
    return Verdict(max(0.0, 1.0 - word_error_rate(apart(gold), apart(out))), True, "wer")


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
    """The option letter that an answer names, in upper case; None if it names none, or more than one.

    The option's text may follow "A.", even a text of a single letter.
    """
    plain = _DECORATION.sub("", unicodedata.normalize("NFKC", text)).strip()
    for _ in range(_LEADS):
        lead = _LEAD.match(plain)
        plain = plain[lead.end() :] if lead else plain
    choice = _CHOICE.fullmatch(plain)
    if choice is None:
        return None
    parts = choice.groupdict()
    rest = next((parts[name] for name in ("after", "text", "lines", "reason", "item") if parts[name] is not None), "")
    rest = rest.strip()
    is_labelled = parts["bracketed"] is not None or parts["label"] not in (None, ",")
    if _MORE_LETTERS.fullmatch(rest) and not (is_labelled and _LONE_LETTER.fullmatch(rest)):
        return None
    if _SECOND_CHOICE.search(rest) or (parts["lines"] is not None and _LABELLED.match(rest)):
        return None
    return (parts["bracketed"] or parts["bare"]).upper()


def evened(text: str) -> str:
    """Text as transcriptions compare it: Unicode NFKC, single spaces, no quotes around it."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).strip("\"'“”‘’`").strip()
