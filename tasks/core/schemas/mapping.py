"""What a question's answer becomes when its clip is played backwards or mirrored, told from its words. Pure.

    change     the answer is the counterpart of the old one: left for right, opens for closes
    stay       the answer is the same, because nothing in question or options speaks of what changes
    question   the question's order word is exchanged ("before" for "after") and the answer stays

Where the answer changes, the question's order words ("moves first" for "moves last") or sides are exchanged as well.
What is counted from the clip's beginning (a time, "the second car") is at another place of the reversed clip, and what
a question takes for granted ("after the door opens") is not so there, and what has a side ("the left hand") keeps it:
such questions have no pair.

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

OTHER_SENSE = re.compile(
    r"\b(?:all right|right (?:answer|option|choice|now|away|before|after|behind|beside|here|there)"
    r"|(?:that|this|which) is right"
    r"|(?:has|have|had|is|are|was|were) left\b(?! (?:of|side|hand))|left (?:the|a|an|his|her|its|their|for|with)"
    r"|(?:sit|sits|sitting|stand|stands|standing|break|breaks|end|ends|show|shows|wake|wakes) (?:up|down)"
    r"|(?:lie|lies|lying|blow|calm|clean|cut|dress|give|hang|light|set|shut|warm|wash)(?:s|t?ing)? (?:up|down)"
    r"|upside down|what's up|up to|up close|makes? up|comes? up with|sums? up|look(?:s|ing)? (?:into|forward)"
    r"|into account|the leaves"
    r"|falls (?:asleep|in love|ill|silent)|writ(?:es?|ing) down|appears (?:to|that|as)|closer (?:look|inspection))\b",
    re.IGNORECASE,
)
"""Words of the table in another sense than that of direction."""
NOT_TURNED = re.compile(
    r"\b(?:open(?:ed)?|closed?|enter(?:ed)?|exit(?:s|ed|ing)?|r[io]se|fall|fell|fallen|lift\w*|lower(?:s|ed|ing)"
    r"|rais(?:e|es|ed|ing)|drop\w*|push(?:ed)?|pull(?:ed)?|pick(?:ed|ing)? up|put(?:ting)? down|arriv\w+|depart\w*"
    r"|approach\w*|reced\w+|retreat\w*|(?:a|de)scend(?:ed|ing)?|(?:in|de)creas(?:e|ed|ing)|gr[eo]w|growing|shr[iau]nk"
    r"|shrinking|(?:un)?fold(?:ed|ing)?|fill(?:ed|ing)?|empt(?:y|ied|ying)|zoom(?:ed|ing)?|(?:dis)?appear(?:ed|ing)?"
    r"|slow(?:ed|ing)? down|sp(?:eed|ed|eeding) up)\b",
    re.IGNORECASE,
)
"""Words of a change that goes the other way backwards, in forms that the table does not have."""
_ORDER_OTHER_SENSE = re.compile(
    r"\b(?:first|last) (?:names?|letters?|characters?|digits?|words?|class|place|floor|row|aid|prize|night|week|year)\b"
    r"|\b(?:look|nam|tak)(?:e|es|ed|s|ing)? after\b"
    r"|\bat the (?:start|end) of (?!(?:the|this) (?:video|clip|scene|film|movie|footage|recording|sequence|shot)\b)",
    re.IGNORECASE,
)
"""Order words that are not about the order of what is shown."""
_STANDS_STILL = re.compile(
    r"\b(?:on|at|in) (?:the|his|her|their|its) (?:\w+ )?(?:left|right)\b|\b(?:left|right) of\b"
    r"|(?<!to )(?<!toward )(?<!towards )(?<!from )\b(?:the|his|her|their|its) (?:left|right) (?!to\b|direction|way)\w"
    r"|(?<!the )(?<!his )(?<!her )\b(?:left|right) (?:hand|arm|foot|leg|eye|ear|side|corner|half|lane|seat)\b"
    r"|\b(?:upper|lower|top|bottom)[ -](?:left|right)\b",
    re.IGNORECASE,
)
"""A side that something has, played forwards or backwards."""
_ASKS_FOR_PLACE = re.compile(
    r"\bwhere(?: is| are| was| were|'s)\b|\b(?:which|what) (?:side|hand|arm|foot|leg|eye|ear|corner|half|lane|seat)\b",
    re.IGNORECASE,
)
_ENDS_OF_A_WAY = re.compile(
    r"\b(?:left|right|up|down)(?: side)? to (?:(?:the|its|his|her) )?(?:left|right|up|down)\b", re.IGNORECASE
)
"""Both of a pair that name one way."""
_SIDED = re.compile(
    r"\b(?:left|right)\w*|\b(?:anti|counter)?-?clockwise\b|\b(?:north|south)?-?(?:east|west)\w*", re.IGNORECASE
)
"""Words of side, in forms too that the table does not have ("left-handed", "leftmost", "west")."""
_WRITING = re.compile(
    r"\b(?:text|words?|letters?|writ(?:es?|ing|ten)|reads?|says?|signs?|labels?|titles?|captions?|subtitles?|digits?"
    r"|logos?|scoreboards?|plates?|(?:what|which) (?:numbers?|time))\b",
    re.IGNORECASE,
)
"""What is read, whatever the type of the question."""


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
    is_choice = record.problem_type == "multiple choice"
    said = unlettered(record.options[LETTERS.index(truth)], truth) if is_choice else truth
    if (reason := _misread(record, said, kind)) is not None:
        return reason
    if is_choice:
        return _choice(record, said, words, kind)
    if (other := counterpart(truth, words)) is not None and record.problem_type == "free-form":
        return _changed(record, truth, other, other, kind)
    return _unchanged(record, said, kind)


def _misread(record: Record, said: str, kind: str) -> str | None:
    """Why the tables would misread a question or its answer in words; None when they would not."""
    asked = f"{record.problem}\n{said}"
    if kind == "mirrored":
        if any(_SIDED.search(found.group()) for found in OTHER_SENSE.finditer(asked)):
            return "a word of direction stands in another sense"
        if _WRITING.search(record.problem):
            return "what is read on a mirrored clip is mirror writing"
        asked, words = "\n".join([asked, *record.options]), COUNTERPARTS[kind]
        return "no rule turns a word of side round" if _SIDED.search(_any_of(tuple(words)).sub("", asked)) else None
    if OTHER_SENSE.search(asked):
        return "a word of direction stands in another sense"
    if _ORDER_OTHER_SENSE.search(record.problem):
        return "an order word stands in another sense"
    return None


def _choice(record: Record, said: str, words: Mapping[str, str], kind: str) -> Mapped | str:
    texts = [unlettered(option, letter) for option, letter in zip(record.options, LETTERS, strict=False)]
    other = counterpart(said, words)
    if other is None:
        return _unchanged(record, said, kind)
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
        if (found := NOT_TURNED.search(said)) is not None:
            return f"no rule turns the word {found.group().lower()!r} round"
        if _is_sequence(said):
            return "the answer tells a sequence"
        if _STANDS_STILL.search(said) or (_ASKS_FOR_PLACE.search(problem) and _SIDED.search(said)):
            return "the answer has a side that stays"
        problem = counterpart(problem, ORDER_WORDS) or problem
    elif one_sided:
        problem = counterpart(problem, COUNTERPARTS[kind]) or problem
    changed = dataclasses.replace(record, problem=problem, solution=f"<answer>{truth}</answer>")
    return Mapped(changed, "change")


def _is_sequence(said: str) -> bool:
    """Whether an answer tells of several changes, whose order turns round as well.

    It has a word of order, two events, or both of a pair ("up and down") but for the ends of one way ("left to right").
    """
    if SEQUENCE.search(said) or counterpart(said, ORDER_WORDS) is not None:
        return True
    if len(_any_of(tuple(EVENTS)).findall(said)) > 1:
        return True
    ways = {word.lower() for word in _any_of(tuple(WAYS)).findall(said)}
    return any(WAYS[way] in ways for way in ways) and _ENDS_OF_A_WAY.search(said) is None


def _one_sided(text: str, words: Mapping[str, str]) -> bool:
    """Whether the text has a word without its counterpart: "opens", and not "opens or closes"."""
    if _any_of(tuple(words)).search(text) is None:
        return False
    spoken = {word for word in words if _any_of((word,)).search(text)}
    return any(words[word] not in spoken for word in spoken)


def _unchanged(record: Record, said: str, kind: str) -> Mapped | str:
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
    if (found := NOT_TURNED.search(f"{record.problem}\n{said}")) is not None:
        return f"no rule turns the word {found.group().lower()!r} round"
    return Mapped(dataclasses.replace(record, problem=asked), "question")


def bare(text: str) -> str:
    """Words of a text, lower case, a space between them."""
    return " ".join(re.findall(r"\w+", text.lower()))
