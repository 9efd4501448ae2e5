"""The option that a source's answer names: by its letter, by its text, or by both."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.core.text.options import LETTERS, lettered, unlettered

_ANSWER = re.compile(r"<answer>.*</answer>", re.DOTALL)
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_LABELLED = re.compile(r"\(?([A-Za-z])[.):]+\s*(.+)", re.DOTALL)


class TruthError(Exception):
    """An answer that is no text, or that may mean two options."""


def solution_of(answer: object, options: Sequence[str]) -> str:
    """Tagged truth; the letter of the option that the answer names, else the answer itself.

    Raises:
        TruthError: neither text nor number; or the letter of one option and the text of another.
    """
    text = written(answer)
    if _ANSWER.fullmatch(text):
        return text
    return f"<answer>{letter_of(text, options) or text}</answer>"


def written(answer: object) -> str:
    """An answer as text.

    Raises:
        TruthError: neither text nor number.
    """
    if isinstance(answer, str):
        return answer.strip()
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return str(answer)
    raise TruthError(f"the answer is neither text nor number but {type(answer).__name__}")


def letter_of(answer: str, options: Sequence[str]) -> str | None:
    """Letter of the option that an answer names; None when it names none.

    Raises:
        TruthError: it is the letter of one option and the text of another.
    """
    shown = lettered(options[: len(LETTERS)])
    texts = [unlettered(option, letter) for option, letter in zip(shown, LETTERS, strict=False)]
    alone, label = _LETTER.fullmatch(answer), _LABELLED.fullmatch(answer)
    named = alone.group(1).upper() if alone else ""
    if named not in LETTERS[: len(texts)]:
        named = ""
    same = _same_as(answer, texts) or _same_as(answer, options)
    if same is not None:
        if named and named != same:
            raise TruthError(f"the answer {answer!r} is the text of option {same} and the letter of another")
        return same
    if label and (letter := label.group(1).upper()) in LETTERS[: len(texts)]:
        is_its_text = texts[LETTERS.index(letter)].casefold() == label.group(2).strip().casefold()
        return letter if is_its_text else None
    return named or None


def _same_as(answer: str, texts: Sequence[str]) -> str | None:
    """Letter of the only text that is the answer, but for capitals if it has to be."""
    for spelled in (str, str.casefold):
        same = [letter for letter, text in zip(LETTERS, texts, strict=False) if spelled(text) == spelled(answer)]
        if len(same) == 1:
            return same[0]
    return None
