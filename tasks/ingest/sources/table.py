"""A folder of clips with a table (CSV or TSV): one question a line.

    path,question,answer,options,type
    kick.mp4,Which way does the ball go?,B,left|right,
    count.mp4,How many balls?,3,,numerical

Columns, by any of their names: path (file, clip, video, image), question (problem), answer (solution, truth), options
(separated by "|", or a JSON or Python list, or columns a, b, c .. / option_a .. / a0, a1 ..), type (problem_type),
data_type, id (problem_id; where it is no whole number, the number of the row), skill. Without a type a line with
options is multiple choice, another free-form; without a data_type the ending of the file decides. An answer may be the
letter of an option ("B", "b", "(B)"), its text, or both ("B. right"). Commas, semicolons or tabs separate columns.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from tasks.core.io.rows import RawRow
from tasks.ingest.sources.delimited import read_lines
from tasks.ingest.sources.truth import TruthError, solution_of

_NAMES = {
    "path": ("path", "file", "clip", "video", "image"),
    "problem": ("question", "problem"),
    "answer": ("answer", "solution", "truth"),
    "options": ("options", "choices"),
    "problem_type": ("type", "problem_type"),
    "data_type": ("data_type",),
    "problem_id": ("id", "problem_id"),
    "skill": ("skill",),
}
_OPTION_COLUMN = re.compile(r"(?:option[_ ]?)?([a-z])|a(\d)", re.IGNORECASE)
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".heic", ".avif")
_LONGEST_ID_DIGITS = 18


def read(annotations: Path, media_root: Path) -> Iterator[RawRow]:
    """A row per line behind the head."""
    for number, line in enumerate(read_lines(annotations)):
        if isinstance(line, str):
            yield RawRow(number, None, line)
            continue
        try:
            yield RawRow(number, _record(number, line))
        except TruthError as error:
            yield RawRow(number, None, f"{annotations} row {number}: {error}")


def _record(number: int, line: Mapping[str, str]) -> dict[str, Any]:
    lower = {name.lower(): value.strip() for name, value in line.items()}
    value = {field: next((lower[name] for name in names if name in lower), "") for field, names in _NAMES.items()}
    options = _options(value["options"]) or _option_columns(lower)
    own = value["problem_id"]
    return {
        "problem_id": int(own) if own.isdecimal() and len(own) <= _LONGEST_ID_DIGITS else number,
        "problem": value["problem"],
        "data_type": value["data_type"] or ("image" if value["path"].lower().endswith(IMAGES) else "video"),
        "problem_type": value["problem_type"] or ("multiple choice" if options else "free-form"),
        "options": options,
        "solution": solution_of(value["answer"], options),
        "path": value["path"],
        "skill": value["skill"],
    }


def _options(text: str) -> list[str]:
    if text.startswith("["):
        listed = _listed(text)
        if isinstance(listed, list) and all(type(option) in (str, int, float) for option in listed):
            return [str(option) for option in listed]
    return [option.strip() for option in text.split("|")] if text else []


def _listed(text: str) -> object:
    """A list in JSON's or Python's spelling, which tables of pandas have; None for any other text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _option_columns(line: Mapping[str, str]) -> list[str]:
    """Options from columns of their own, a, b, c .. or a0, a1 .., up to the last one that is filled."""
    columns = {
        column.group(1) or column.group(2): value
        for name, value in line.items()
        if (column := _OPTION_COLUMN.fullmatch(name))
    }
    for first in ("a", "0"):
        names = takewhile(columns.__contains__, (chr(ord(first) + step) for step in range(len(columns))))
        options = [columns[name] for name in names]
        while options and not options[-1]:
            options.pop()
        if options:
            return options
    return []
