"""TempCompass's rules for reading answers (github.com/llyx97/TempCompass, eval_*.py).

What no rule reads, the official code puts to a judge, or counts as 0 (`--disable_llm`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_LETTERED = re.compile(r"[A-D][.)]")


class Rating(NamedTuple):
    """The official outcome of one answer."""

    rating: int
    match_success: bool
    """Whether a rule could read the answer; if not, the official code asks a judge or counts 0."""
    extracted: str


def multi_choice(prediction: str | None, answer: str) -> Rating:
    """The option's whole line, its letter alone, or its letter followed by "." or ")"."""
    text = clean(prediction)
    if text == answer:
        return Rating(1, True, text)
    if text in ("A", "B", "C", "D") or _LETTERED.match(text):
        letter = text[0]
        return Rating(int(letter == answer[:1]), True, letter)
    return Rating(0, False, "")


def yes_no(prediction: str | None, answer: str) -> Rating:
    """What the answer begins with, in any case: "Not sure" and "Nothing" read as no."""
    low = clean(prediction).lower()
    read = next((word for word in ("yes", "no") if low.startswith(word)), "")
    return Rating(int(read == answer), True, read) if read else Rating(0, False, "")


def caption_matching(prediction: str | None, answer: str, lines: Sequence[str]) -> Rating:
    """The option's whole line, its sentence or its name ("Caption A", "A"); a right name before other words fails."""
    text = clean(prediction)
    pairs = [(name, sentence) for name, _, sentence in (line.partition(": ") for line in lines)]
    behind = text.split(") ")[1] if ") " in text else None
    matches = [line for line in lines if line == text]
    matches += [sentence for _, sentence in pairs if sentence and sentence.split(": ")[0] in (text, behind)]
    names = [name for name, _ in pairs]
    matches += [name for name in names + [_short(name) for name in names] if name in (text, text.replace(".", ""))]
    if not matches:
        return Rating(0, False, "")
    name, _, sentence = answer.partition(": ")
    right = {answer, answer.split(":")[0], sentence.split(": ")[0], (name.split() + [""])[1] if " " in name else ""}
    return Rating(int(matches[-1] in right - {""}), True, matches[-1])


def clean(prediction: str | None) -> str:
    """The text without the end token that some models write out."""
    return "" if prediction is None else prediction.replace("</s>", "").strip()


def _short(name: str) -> str:
    return name.replace("Sentence ", "").replace("Option ", "").replace("Caption ", "")
