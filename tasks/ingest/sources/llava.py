"""LLaVA-style conversations: `id`, `image` or `video`, `conversations` of turns "from" human and gpt.

Every question and its reply become a record; the turns before are not shown. A question that lists options and a reply
that names one of them, by its letter or its text, are multiple choice, everything else is free-form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.core.io.rows import RawRow, read_rows
from tasks.core.rewards.robust import parse_letter
from tasks.core.text.options import LETTERS, is_labelled
from tasks.ingest.sources.truth import TruthError, letter_of, written

_PLACEHOLDER = re.compile(r"\s*<(?:image|video)>\s*")
_OPTION = re.compile(r"\s*\(?([A-Z])[.):]\s*\S.*")
_INSTRUCTION = re.compile(
    r"\s*(?:Please\s+)?(?:answer|respond|select|provide)\b[^\n]*\b(?:letter|option|choices?)\b[^\n]*$", re.IGNORECASE
)
HUMAN, MODEL = ("human", "user"), ("gpt", "assistant")


def read(annotations: Path, media_root: Path) -> Iterator[RawRow]:
    """Questions in order, counted through all conversations."""
    number = 0
    for raw in read_rows(annotations):
        for value, fault in _questions(raw):
            yield RawRow(number, value and {**value, "problem_id": number}, fault)
            number += 1


def _questions(raw: RawRow) -> Iterator[tuple[dict[str, Any] | None, str]]:
    where = f"conversation {raw.row}: "
    item = raw.value
    if raw.fault or not isinstance(item, Mapping):
        yield None, raw.fault or f"{where}not an object but {type(item).__name__}"
        return
    media = [(kind, item[kind]) for kind in ("image", "video") if item.get(kind)]
    turns = item.get("conversations")
    if len(media) != 1 or not isinstance(media[0][1], str):
        yield None, f"{where}one image or one video is wanted"
        return
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        yield None, f"{where}conversations: not a list of turns"
        return
    spoken = [turn for turn in turns if turn.get("from") != "system"]
    for asked, replied in zip(spoken[::2], spoken[1::2], strict=False):
        if asked.get("from") not in HUMAN or replied.get("from") not in MODEL:
            yield None, f"{where}turns of human and gpt do not alternate"
            return
        try:
            yield _question(written(asked.get("value")), written(replied.get("value")), *media[0]), ""
        except TruthError:
            yield None, f"{where}a turn's value is not text"
    if not spoken:
        yield None, f"{where}no question"
    if len(spoken) % 2:
        yield None, f"{where}the last question has no reply"


def _question(asked: str, replied: str, data_type: str, path: str) -> dict[str, Any]:
    text = _PLACEHOLDER.sub("\n", asked).strip()
    problem, options = split_options(text)
    letter = _named(replied, options)
    return {
        "problem": text if letter is None else problem,
        "data_type": data_type,
        "problem_type": "free-form" if letter is None else "multiple choice",
        "options": [] if letter is None else options,
        "solution": f"<answer>{letter or replied}</answer>",
        "path": path,
    }


def _named(reply: str, options: list[str]) -> str | None:
    """Letter of the option that a reply names; None without options, or when it names none or several."""
    if not options:
        return None
    try:
        letter = letter_of(reply, options) or letter_of(reply.rstrip("."), options) or parse_letter(reply)
    except TruthError:
        return None
    return letter if letter and letter in LETTERS[: len(options)] else None


def split_options(text: str) -> tuple[str, list[str]]:
    """A question and the options that its last lines list as A, B, ..; an instruction behind them is left out."""
    lines = [line for line in text.split("\n") if line.strip()]
    while lines and _INSTRUCTION.fullmatch(lines[-1]):
        lines.pop()
    start = len(lines)
    while start and _OPTION.fullmatch(lines[start - 1]):
        start -= 1
    options = [line.strip() for line in lines[start:]]
    if len(options) < 2 or not all(map(is_labelled, options, LETTERS)):
        return text, []
    return "\n".join(lines[:start]).strip(), options
