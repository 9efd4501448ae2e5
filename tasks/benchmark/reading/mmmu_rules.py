"""VideoMMMU's rules for reading answers (github.com/EvolvingLMMs-Lab/VideoMMMU, after MMMU's eval_utils.py).

They are lenient in odd places, and kept so: among nine options and more the pronoun "I" is option I; "4," is not
read as a number; a one-letter truth is found inside words' edges ("point a shows").
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.benchmark.base import LETTERS

NOT_FOUND = "No Answere Found"
"""As the official code spells it."""
API_ERROR = "API Error"
"""An empty answer; such rows leave the denominator."""
_PUNCTUATION = ",.!?;:'"
_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_SIMPLE = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")
_SENTENCES = re.compile(r"\.\s(?=[A-Z])|\n")
_KEYS = (
    "could be ",
    "so ",
    "is ",
    "thus ",
    "therefore ",
    "final ",
    "answer ",
    "result ",
    "are ",
    "in total ",
    "total ",
    "identify ",
    "recognize ",
    "calculated as ",
    "counted as ",
    "measured as ",
    "observed as ",
    "concluded as ",
    "found to be ",
    "equals ",
    "determined to be ",
    "number of ",
    "value is ",
    "adds up to ",
    "have ",
    "has ",
)


def choose(text: str, options: Sequence[str]) -> tuple[str, str]:
    """Option letter that an answer names, or NOT_FOUND or API_ERROR; and the rule that decided.

    "X." and "X:" come first and together, then "(X)", then "X ", then (in answers of more than five words) an option's
    text. Of several matches the last one in the text counts.
    """
    if text in (API_ERROR, ""):
        return API_ERROR, "empty"
    for sign in _PUNCTUATION:
        text = text.strip(sign)
    text = f" {text} "
    letters = LETTERS[: len(options)]
    dotted = [letter for letter in letters if f"{letter}." in text]
    colons = [letter for letter in letters if f"{letter}:" in text]
    if dotted or colons:
        shape = "{}." if dotted else "{}:"
        return _last(
            dotted + colons, [text.rfind(shape.format(letter)) for letter in dotted + colons]
        ), "letter and sign"
    if named := [letter for letter in letters if f"({letter})" in text]:
        return _last(named, [text.rfind(f"({letter})") for letter in named]), "letter in brackets"
    if named := [letter for letter in letters if f"{letter} " in text]:
        return _last(named, [text.rfind(f" {letter} ") for letter in named]), "letter and space"
    if len(text.split()) > 5:
        low = text.lower()
        places = {letter: low.rfind(option.lower()) for letter, option in zip(letters, options, strict=False)}
        if named := [letter for letter, place in places.items() if place >= 0]:
            return _last(named, [places[letter] for letter in named]), "option text"
    return NOT_FOUND, "no option"


def parse_open(text: str) -> list[str | float] | str:
    """Candidate answers of an open question, normalised: phrases after key words, and the numbers in them."""
    if text in (API_ERROR, ""):
        return API_ERROR
    phrases = _key_phrases(text)
    numbers = [
        match for phrase in phrases for rule in (_COMMAS, _SCIENTIFIC, _SIMPLE) for match in rule.findall(phrase)
    ]
    return [value for part in [*phrases, *numbers] for value in normalise(part)]


def open_is_right(truth: str | Sequence[str], candidates: Sequence[str | float]) -> bool:
    """Whether any candidate equals a truth as a number of two decimals, or contains it as text."""
    golds = [gold for text in ([truth] if isinstance(truth, str) else truth) for gold in normalise(text)]
    return any(
        any(isinstance(gold, str) and gold in candidate for gold in golds)
        if isinstance(candidate, str)
        else candidate in golds
        for candidate in candidates
    )


def normalise(text: str) -> list[str | float]:
    """A number rounded to two decimals, or the text in lower case (one character gets a space on either side)."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        low = text.lower()
        return [f" {low}", f"{low} "] if len(low) == 1 else [low]


def _key_phrases(text: str) -> list[str]:
    whole = text.strip().strip(".").lower()
    sentences = _SENTENCES.split(whole)
    phrases = []
    for number, sentence in enumerate(sentences):
        keys = (*_KEYS, "=") if number == len(sentences) - 1 else _KEYS
        shortest = ""
        for tail in (sentence.split(key)[-1].strip() for key in keys if key in sentence):
            # An empty tail is replaced by the next one, whatever its length, and never kept over a longer one.
            if not shortest or len(tail) < len(shortest):
                shortest = tail
        if shortest and shortest not in tuple(_PUNCTUATION):
            phrases.append(shortest)
    return phrases or [whole]


def _last(letters: Sequence[str], places: Sequence[int]) -> str:
    """Letter at the greatest place; the first of equals."""
    return letters[max(range(len(letters)), key=lambda i: (places[i], -i))]
