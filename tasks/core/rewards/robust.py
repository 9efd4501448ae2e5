"""The published rules without their holes; the variant used for training and for our own tables.

- letter: "A", "(A)", "A.", "A) foo", "A, foo", "A (foo)", "a", "**A**", "Answer: A", "A because", "选项A"; never a
  letter that begins a word, never two letters, nor the labels of two options;
- number: read by `numbers.parse_number`; equal to two decimals, and below 0.1 to 5 % (two decimals would call 0.001 and
  0.004 equal);
- transcription: word error rate after Unicode NFKC, single spaces and without surrounding quotes; case counts, the
  shape of quotes does not;
  a Chinese, Japanese, Korean, Thai, Lao, Burmese or Khmer character is a word, since words are not spaced there;
- free text: ROUGE over words of any script, so that one-word truths reach 1 and Chinese scores at all;
- regression: relative error; for a truth of 0, where that does not exist, the absolute error.
NaN and infinity never score. An empty answer or truth never scores.
"""

from __future__ import annotations

import re
import unicodedata

from tasks.core.rewards.measures import apart, rouge_mean_any_script, word_error_rate, words
from tasks.core.rewards.numbers import DECLARED, GROUNDS, parse_number
from tasks.core.rewards.score import Verdict
from tasks.core.text.visible import visible

_DECIMALS_TOLERANCE = 0.005
_SMALL = 0.1
_SMALL_TOLERANCE = 0.05
_SLACK = 1e-9

_CJK = r"\u3400-\u9fff"
_LETTER_ALONE = r"(?-i:(?<![A-Za-z'])(?:[B-HJ-Z]|A(?!\s+(?!(?:is|or|and|but|because|since|as)\b)[a-z]))(?![A-Za-z']))"
"""A letter but for the words "A" and "I"."""
_LEAD = re.compile(
    rf"{GROUNDS}|(?:(?!{_LETTER_ALONE}).){{1,300}}?{DECLARED}|(?:so|thus|therefore|hence)[,:]?\s+|(?:sure|okay|ok)[!,.:]\s+|(?:#+|>+|[-•])\s*(?=[A-Z(])"
    r"|(?:definitely|certainly|clearly|obviously|probably|likely|most\s+likely)[,:]?\s+"
    r"|(?:i(?:d|ll|\s+(?:would|will))?|we(?:\s+(?:would|will|can))?)\s+"
    r"(?:think|believe|choose|pick|select|say|conclude|go\s+(?:with|for))\s+(?:that\s+)?"
    r"|(?:choose|pick|select|go\s+with)\s+|it(?:s|\s+is|\s+(?:should|must|would)\s+be)\s+"
    r"|(?:correct|response|solution|conclusion|result|verdict|prediction|selection)\s*:\s*"
    r"|(?:(?:the|my|it)\s+)?(?:(?:correct|right|final|best|most\s+\w+)\s+)?(?:answer|option|choice|letter|one|ans)\b\.?"
    r"(?:\s+(?:to|for|of|in|here)\b[^.:;,\n]{0,60}?(?=\s(?:is|would|should|must)\b))?"
    r"\s*(?:is\b|(?:would|should|must|could|may)\s+be\b|(?:seems|appears)\s+to\s+be\b)?\s*(?:[:=→]|->?)?\s*"
    r"|(?:所以|因此|故|综上)?[,:]?(?:我认为|我觉得|本题|此题)?(?:应该|应|我)?(?:(?:正确|最终|最佳|最后)的?)?"
    r"(?:答案|选项|选择|选|答|是)(?:应该|应)?(?:是|为|选)?\s*[:：]?\s*",
    re.IGNORECASE | re.DOTALL,
)
_DECORATION = re.compile(
    r"\\(?:boxed|fbox|(?:text|math)(?:rm|bf|it|sf|tt)?|rm|bf|underline)(?![a-z])"
    r"|\\[()\[\]]|\\+(?=[\s.]|$)|[*_$`{}\"'“”‘’]"
)
_BRACKETS = str.maketrans("【】「」『』《》〈〉〔〕", "()()()()()()")
_CHOICE = re.compile(
    r"[(\[<]+\s*(?P<bracketed>[A-Za-z])\s*[)\]>]+(?P<after>.*)"
    r"|(?P<bare>[A-Za-z])(?:"
    rf"\s*(?P<label>\)|\.(?=\s|$|[{_CJK}]|[a-z]{{2}})|:(?!\d)|[、。]|[,;](?=\s|$|[{_CJK}]))(?P<text>.*)"
    r"|\s*\n(?P<lines>.*)"
    r"|(?:\s*(?:[-=]>|[→⇒]|—|--)|\s+[-–=]\s|\s+(?=[(\[])|\s*\t)(?P<note>.*)"
    r"|\s+(?:because|since|as|due|for|rather|instead|i\.e\."
    r"|(?:is|(?:would|should|must)\s+be)\s+(?:the\s+)?(?:correct|right|best|answer))(?!\w)(?P<reason>.*)"
    rf"|\s*(?:选项|项|是?正确|是对)(?P<item>.*)|\s+(?=[{_CJK}])(?P<chinese>.*)"
    r"|\s*(?:!|\.{3}|…)?\s*)",
    re.DOTALL | re.IGNORECASE,
)
_RESTS = ("after", "text", "lines", "note", "reason", "item", "chinese")
_LIST_MARKS = (",", ";", "、")
_MORE_LETTERS = re.compile(
    r"(?:[\s,;、/&+|]*(?:or|and|和|或|与)?[\s,/&+|]*[(\[]?(?<![A-Za-z])[A-Z](?![A-Za-z])[)\].:]?)+\s*"
)
_LABELLED = re.compile(r"[(\[]?[A-Z][)\].:]")
_LONE_LETTER = re.compile(r"[A-Za-z]")
_SECOND_CHOICE = re.compile(
    r"\b(?:or|and)\s+[(\[]?[A-Z][)\].:,]|[或和与]\s*[A-Z](?![A-Za-z])|[\n,;]\s*[(\[]?[A-Z][)\].:]\s"
    r"|\s[A-Z][):]\s|\([A-Z]\)(?=\s*\w)"
)
_CAPITAL = re.compile("[A-Z]")
_LEADS = 5
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("‘’‚‛‹›", "'"))
_BOLD = re.compile(r"\*\*([^*]+)\*\*")


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
    if len(text) == 1 and text.isascii() and text.isalpha():
        return text.upper()
    plain = unicodedata.normalize("NFKC", visible(text)).translate(_BRACKETS)
    plain = _DECORATION.sub("", plain).strip()
    for _ in range(_LEADS):
        lead = _LEAD.match(plain)
        plain = plain[lead.end() :] if lead else plain
    choice = _CHOICE.fullmatch(plain)
    if choice is None:
        return None
    parts = choice.groupdict()
    rest = next((parts[name] for name in _RESTS if parts[name] is not None), "").strip()
    is_labelled = parts["bracketed"] is not None or parts["label"] not in (None, *_LIST_MARKS)
    if _MORE_LETTERS.fullmatch(rest) and not (is_labelled and _LONE_LETTER.fullmatch(rest)):
        return None
    chosen = (parts["bracketed"] or parts["bare"]).upper()
    if _names_another(chosen, rest) or (parts["lines"] is not None and _LABELLED.match(rest)):
        return None
    return chosen


def _names_another(chosen: str, rest: str) -> bool:
    """Whether the text behind a choice offers another letter as well."""
    seconds = (_CAPITAL.findall(second.group()) for second in _SECOND_CHOICE.finditer(rest))
    return any(letters[0] != chosen for letters in seconds)


def evened(text: str) -> str:
    """Text as transcriptions compare it: Unicode NFKC, single spaces, straight quotes, no quotes or ** around it."""
    plain = " ".join(unicodedata.normalize("NFKC", visible(text)).translate(_QUOTES).split())
    bold = _BOLD.fullmatch(plain)
    return (bold.group(1) if bold else plain).strip("\"'`").strip()
