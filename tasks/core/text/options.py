"""Letters of multiple-choice options: adding, reading and removing them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from tasks.core.text.visible import visible

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LABEL = re.compile(r"\(?([A-Z])(?:[.):：、．]\s+\S|[)：、．]\S|\.(?=[a-z]{2}|[\u3400-\u9fff]))")
"""With a space behind, or without where no abbreviation (U.S.) and no ratio (A:B) looks alike."""
_SMALL_LABEL = re.compile(r"\s*\(?[a-z](?=[.):：、．])")
_SHORT_CHARS = 16
"""No label alone is longer, whatever space is around it."""
_LABELS = {
    letter: (f"{letter}.", f"{letter})", f"({letter})", f"{letter}:", f"{letter}：", f"{letter}、")
    for letter in LETTERS
}


def is_labelled(option: str, letter: str) -> bool:
    """Whether an option begins with this letter as its label ("A. left", "A) left", "(A) left", "A: left", or "A")."""
    text = option.strip()
    return text == letter or text.startswith(_LABELS[letter])


def are_labelled(options: Sequence[str]) -> bool:
    """Whether every option begins with its own letter: the first with A, the second with B."""
    return all(is_labelled(option, letter) for option, letter in zip(options, LETTERS, strict=False))


def lettered(options: Sequence[str]) -> list[str]:
    """Options as "A. text"; unchanged if every option already begins with its own letter, which becomes a capital.

    Raises:
        ValueError: more options than letters.
    """
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options, {len(LETTERS)} letters")
    if are_labelled(options):
        return list(options)
    if are_labelled(capitals := _capitalised(options)):
        return capitals
    return [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]


def _capitalised(options: Sequence[str]) -> list[str]:
    """Options with the labels that are small letters ("a. left", "(b) right") as capitals."""
    labels = [_SMALL_LABEL.match(option) for option in options]
    return [
        option if label is None else label.group().upper() + option[label.end() :]
        for option, label in zip(options, labels, strict=True)
    ]


def unlettered(option: str, letter: str) -> str:
    """Text of an option without the label `letter`; the whole option if it has no such label, or only the label."""
    text = option.strip()
    if not is_labelled(text, letter):
        return text
    bare = text.removeprefix(f"({letter})") if text.startswith("(") else text[2:]
    return bare.strip() or text


def is_letter_of(truth: str, options: Sequence[str]) -> bool:
    """Whether a truth is the capital letter of one of the options."""
    return len(truth) == 1 and 0 <= LETTERS.find(truth) < len(options)


def misfit(options: Sequence[str]) -> str | None:
    """Why the letters of options are ambiguous; None when they are not.

    An option is empty (behind its label too), there are more options than letters, or an option has the label of
    another one, as a small letter too, or all do by a place (B, C for A, B). The beginning of a text that only looks
    like a label ("J. Smith") passes, unless all options have labels and it is another one's.
    """
    if len(options) > len(LETTERS):
        return f"{len(options)} options, more than there are letters"
    for place, option in enumerate(options, start=1):
        if not visible(option).strip():
            return f"option {place} is empty"
    capitals = options if are_labelled(options) else _capitalised(options)
    if are_labelled(capitals):
        is_bare = [_is_bare(option, letter) for option, letter in zip(capitals, LETTERS, strict=False)]
        if any(is_bare) and not all(is_bare):
            return f"option {is_bare.index(True) + 1} is empty behind its label"
        return None
    letters = LETTERS[: len(options)]
    labels = [label.group(1) if (label := _LABEL.match(option.strip())) else "" for option in options]
    either = [label.group(1) if (label := _LABEL.match(option.strip())) else "" for option in capitals]
    is_shifted = all(either) and either[0] in letters and "".join(either) in LETTERS
    if is_shifted or all(label and label in letters for label in either):
        return f"labels {', '.join(either)} where {', '.join(letters)} belong"
    own = [label == letter for label, letter in zip(labels, letters, strict=True)]
    if any(own):
        return f"option {own.index(False) + 1} has not the label {letters[own.index(False)]}, others have theirs"
    return None


def _is_bare(option: str, letter: str) -> bool:
    return len(option) < _SHORT_CHARS and visible(option).strip() in (letter, *_LABELS[letter])


def repeats(options: Sequence[str], truth: str) -> str | None:
    """The letter of another option with the same text as the true one; None when there is none."""
    texts = [_as_read(unlettered(option, letter)) for option, letter in zip(options, LETTERS, strict=False)]
    right = LETTERS.index(truth)
    twins = [letter for letter, text in zip(LETTERS, texts, strict=False) if text == texts[right] and letter != truth]
    return twins[0] if twins else None


def _as_read(text: str) -> str:
    """Text with single spaces, without characters that nobody sees, an accent and its letter as one character."""
    return " ".join(unicodedata.normalize("NFC", visible(text)).split())
