"""What a question's answer becomes when its clip is played backwards or mirrored, told from its words. Pure.

    change     the answer is the counterpart of the old one: left for right, opens for closes
    stay       the answer is the same, because nothing in question or options speaks of what changes
    question   the question's order word is exchanged ("before" for "after") and the answer stays

Where the answer changes, the question's order words ("moves first" for "moves last") or sides are exchanged as well.
What is counted from the clip's beginning (a time, "the second car") is at another place of the reversed clip, and what
a question takes for granted ("after the door opens") is not so there: such questions have no pair.

Only what a rule tells is mapped; everything else is refused with the reason. A wrong pair teaches what is not so, and a
missing one costs a row. (Pairs with a change-or-stay relation: CRPO, arXiv 2605.21988, which has them from an editor's
model; words are mapped here.)
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from tasks.core.schemas.records import Record, truth_of
from tasks.core.text.options import LETTERS, unlettered

KINDS = ("reversed", "mirrored")
_SIDES = (("left", "right"), ("leftward", "rightward"), ("leftwards", "rightwards"), ("clockwise", "counterclockwise"))
_WAYS = (
    *(("up", "down"), ("upward", "downward"), ("upwards", "downwards"), ("toward", "away from"), ("closer", "farther")),
    *(("rises", "falls"), ("rising", "falling"), ("ascends", "descends"), ("climbs up", "climbs down")),
    *(("forward", "backward"), ("forwards", "backwards")),
)
_EVENTS = (
    *(("opens", "closes"), ("opening", "closing"), ("enters", "leaves"), ("entering", "leaving"), ("into", "out of")),
    *(("pushes", "pulls"), ("pushing", "pulling"), ("appears", "disappears"), ("increases", "decreases")),
    *(("speeds up", "slows down"), ("zooms in", "zooms out"), ("picks up", "puts down"), ("fills", "empties")),
    *(("grows", "shrinks"), ("folds", "unfolds")),
)
_ORDER = (("before", "after"), ("first", "last"), ("at the start", "at the end"), ("begins", "ends"))


def _both_ways(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {**dict(pairs), **{second: first for first, second in pairs}}


WAYS = _both_ways((*_SIDES, *_WAYS))
EVENTS = _both_ways(_EVENTS)
COUNTERPARTS: Mapping[str, Mapping[str, str]] = {"reversed": {**WAYS, **EVENTS}, "mirrored": _both_ways(_SIDES)}
ORDER_WORDS = _both_ways(_ORDER)
FROM_BEGINNING = re.compile(
    r"\b(?:seconds?|minutes?|timestamps?|how long|(?:what|which) time"
    r"|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|\d+(?:st|nd|rd|th)|\d+:\d\d|\d+(?:\.\d+)?\s?s)\b",
    re.IGNORECASE,
)
SEQUENCE = re.compile(r"\b(?:then|next|followed by|finally|later|afterwards?)\b|->|→|;", re.IGNORECASE)


class Mapped(NamedTuple):
    """A record with the answer that its changed clip has."""

    record: Record
    relation: str
    """change, stay or question."""


def counterpart(text: str, words: Mapping[str, str]) -> str | None:
    """The text with every word of the table exchanged for its counterpart; None where it has none of them.

    Longer entries first ("away from" before "away"); the first letter keeps its case.
    """
    pattern = _any_of(tuple(words))
    if pattern.search(text) is None:
        return None

    def exchanged(match: re.Match[str]) -> str:
        other = words[match.group().lower()]
        return other.capitalize() if match.group()[0].isupper() else other

    return pattern.sub(exchanged, text)


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Finds whole words of these; of two that begin alike the longer."""
    longest_first = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{longest_first})(?![\w-])", re.IGNORECASE)


def mapped(record: Record, kind: str) -> Mapped | str:
    """The record on its changed clip, or why no rule tells its answer.

    Args:
        record: a question about a video.
        kind: reversed or mirrored.
    """
    if record.data_type != "video":
        return "an image has no order" if kind == "reversed" else "images are not mirrored"
    if record.problem_type == "OCR":
        return "what is read on a mirrored clip is mirror writing" if kind == "mirrored" else "no rule for writing"
    if kind == "reversed" and FROM_BEGINNING.search(record.problem):
        return "a time or a number in a row counts from the clip's beginning"
    words = COUNTERPARTS[kind]
    truth = truth_of(record.solution)
    if record.problem_type == "multiple choice":
        return _choice(record, truth, words, kind)
    if (other := counterpart(truth, words)) is not None and record.problem_type == "free-form":
        return _changed(record, truth, other, other, kind)
    return _unchanged(record, kind)


def _choice(record: Record, truth: str, words: Mapping[str, str], kind: str) -> Mapped | str:
    texts = [unlettered(option, letter) for option, letter in zip(record.options, LETTERS, strict=False)]
    said = texts[LETTERS.index(truth)]
    other = counterpart(said, words)
    if other is None:
        return _unchanged(record, kind)
    places = [place for place, text in enumerate(texts) if bare(text) == bare(other)]
    if len(places) != 1:
        return f"the answer's counterpart {other!r} is none of the options"
    return _changed(record, said, other, LETTERS[places[0]], kind)


def _changed(record: Record, said: str, other: str, truth: str, kind: str) -> Mapped | str:
    """Where the answer has a counterpart: the question must be true of the changed clip too.

    Args:
        record: the question.
        said: the answer in words.
        other: its counterpart.
        truth: the counterpart as the solution spells it.
        kind: reversed or mirrored.
    """
    problem, one_sided = record.problem, _one_sided(record.problem, COUNTERPARTS[kind])
    if kind == "reversed":
        if one_sided:
            return "the question takes for granted what turns round"
        if SEQUENCE.search(said) or counterpart(said, ORDER_WORDS) is not None:
            return "the answer tells a sequence"
        problem = counterpart(problem, ORDER_WORDS) or problem
    elif one_sided:
        problem = counterpart(problem, COUNTERPARTS[kind]) or problem
    changed = dataclasses.replace(record, problem=problem, solution=f"<answer>{truth}</answer>")
    return Mapped(changed, "change")


def _one_sided(text: str, words: Mapping[str, str]) -> bool:
    """Whether the text has a word without its counterpart: "opens", and not "opens or closes"."""
    if _any_of(tuple(words)).search(text) is None:
        return False
    spoken = {word for word in words if _any_of((word,)).search(text)}
    return any(words[word] not in spoken for word in spoken)


def _unchanged(record: Record, kind: str) -> Mapped | str:
    """Where the answer has no counterpart: the clip's change must be out of the question too, or turn its words."""
    spoken = "\n".join([record.problem, *record.options])
    if kind == "mirrored":
        if counterpart(spoken, COUNTERPARTS[kind]) is not None:
            return "left and right are spoken of, and the answer has no counterpart"
        return Mapped(record, "stay")
    if _one_sided(record.problem, COUNTERPARTS[kind]):
        return "the question takes for granted what turns round"
    asked = counterpart(record.problem, ORDER_WORDS)
    if asked is None or counterpart("\n".join(record.options), ORDER_WORDS) is not None:
        return "no rule tells the answer on the reversed clip"
    return Mapped(dataclasses.replace(record, problem=asked), "question")


def bare(text: str) -> str:
    """Words of a text, lower case, a space between them."""
    return " ".join(re.findall(r"\w+", text.lower()))
