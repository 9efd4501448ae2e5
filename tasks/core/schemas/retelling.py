"""Reasoning about a clip, retold of the clip played backwards: each word of direction becomes its counterpart. Pure.

    forward    The ball starts at the left and ends at the right, so it moves right. right is B.    B
    retold     The ball starts at the right and ends at the left, so it moves left. left is A.      A

So a completion that is right about a clip gives one that is right about its reverse, which nobody was asked about: not
a teacher, whose own habits would answer it, nor a policy that has no right completion there to learn from. (Learning
from a policy's own right completions: STaR, arXiv 2203.14465, and RFT, arXiv 2308.01825. Neither has the reverse.)

What a rule cannot retell is refused with the reason, as in `mapping.py`. What stands still and has a place ("the door
on the left") is moved with the rest: the reasoning then says of it what is not so, while its answer stays right. Made
for reasoning of a few sentences: the longer one is, the likelier it has a refused word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tasks.core.schemas.mapping import (
    EVENTS,
    FROM_BEGINNING,
    NOT_TURNED,
    ORDER_WORDS,
    OTHER_SENSE,
    SEQUENCE,
    WAYS,
    Mapped,
    bare,
    counterpart,
)
from tasks.core.schemas.records import Record
from tasks.core.text.options import LETTERS, unlettered

PLACES = {"top": "bottom", "bottom": "top", "above": "below", "below": "above"}
WORDS: Mapping[str, str] = {**WAYS, **EVENTS, **PLACES}
_SEQUENCED = {word: other for word, other in ORDER_WORDS.items() if word in ("before", "after", "first", "last")}
"""Words of order, without those that give a place its time ("begins at the left"): these stay where they are."""
_IN_A_COMPOUND = re.compile(
    r"\b(?:(?:left|right|up|down|top|bottom)(?:most\b|(?=-\w))|(?<=\w-)(?:left|right|up|down|top|bottom)\b"
    r"|(?:upp|low|high)er\b|(?:anti|counter-)clockwise\b|beneath\b|underneath\b)",
    re.IGNORECASE,
)
"""Words of a way or a place that no word of the table matches: "left-hand", "leftmost", "upper"."""
_LETTER = re.compile(r"(?<![\w'-])(?:[B-H]|A(?!\s+(?!(?:or|and|but|is)\b)[a-z]))(?![\w'-])")
"""A letter that stands alone; an A before a lower-case word is the article, but for "A or B"."""


class Retold(NamedTuple):
    """Reasoning about the reversed clip."""

    text: str


def retold(record: Record, backwards: Mapped, reasoning: str) -> Retold | str:
    """The reasoning that the reversed clip has, or why no rule tells it.

    Args:
        record: the question about the clip as it is.
        backwards: the same about the reversed clip (`mapping.mapped`).
        reasoning: right about the clip as it is, without tags.
    """
    if backwards.relation != "change":
        return "the answer does not turn round with the clip"
    if FROM_BEGINNING.search(reasoning):
        return "the reasoning counts from the clip's beginning"
    prose = reasoning.replace(";", ",")  # a semicolon parts an answer's events, and a reasoning's sentences
    if SEQUENCE.search(prose) or counterpart(prose, _SEQUENCED) is not None:
        return "the reasoning tells a sequence"
    if OTHER_SENSE.search(reasoning):
        return "a word of direction stands in another sense"
    if found := NOT_TURNED.search(reasoning) or _IN_A_COMPOUND.search(reasoning):
        return f"no rule turns the word {found.group().lower()!r} round"
    ways, events = (counterpart(reasoning, words) is not None for words in ({**WAYS, **PLACES}, EVENTS))
    if ways and events:  # what enters at the left leaves there backwards, but what moves left then moves right
        return "what happens is told with a way or a place"
    if not ways and not events:
        return "the reasoning has no word of direction"
    return Retold(turned(record, reasoning))


def turned(record: Record, text: str) -> str:
    """A text, an answer for one, with its words of direction and the letters of such options exchanged."""
    letters = _exchanged_letters(record)
    said = counterpart(text, WORDS) or text
    return _LETTER.sub(lambda found: letters.get(found.group(), found.group()), said)


def _exchanged_letters(record: Record) -> dict[str, str]:
    """Letter of an option -> letter of the option that is its counterpart; options without one are left out."""
    texts = [bare(unlettered(option, letter)) for option, letter in zip(record.options, LETTERS, strict=False)]
    others = {text: counterpart(text, WORDS) for text in texts}
    return {
        LETTERS[place]: LETTERS[texts.index(bare(other))]
        for place, text in enumerate(texts)
        if (other := others[text]) is not None and texts.count(bare(other)) == 1
    }
