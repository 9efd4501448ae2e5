"""A folder of clips with a table (CSV or TSV): one question a line.

    path,question,answer,options,type
    kick.mp4,Which way does the ball go?,B,left|right,
    count.mp4,How many balls?,3,,numerical

Columns, by any of their names: path (file, clip, video, image), question (problem), answer (solution, truth), options
(separated by "|", or a JSON list, or columns a, b, c .. / option_a .. / a0, a1 ..), type (problem_type), data_type, id
(problem_id), skill. Without a type a line with options is multiple choice, another free-form; without a data_type the
ending of the file decides. An answer may be the letter of an option ("B", "b", "(B)") or its text.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.core.io.rows import RawRow, RowsError
from tasks.core.text.options import LETTERS, unlettered

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
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_ANSWER = re.compile(r"<answer>.*</answer>", re.DOTALL)


def read(annotations: Path, media_root: Path) -> Iterator[RawRow]:
    """A row per line behind the head."""
    for number, line in enumerate(read_lines(annotations)):
        if isinstance(line, str):
            yield RawRow(number, None, line)
        else:
            yield RawRow(number, _record(number, line))


def read_lines(path: Path) -> Iterator[dict[str, str] | str]:
    """Lines of a table by their column names; or why one cannot be read, with file and line.

    Raises:
        RowsError: no such file, not text, or no head.
    """
    if not path.is_file():
        raise RowsError(f"{path}: no such annotation file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise RowsError(f"{path}: not UTF-8: {error}") from error
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        head = [name.strip() for name in next(lines)]
        for line in lines:
            if not line:
                continue
            if len(line) != len(head):
                yield f"{path} line {lines.line_num}: {len(line)} columns where the head has {len(head)}"
            else:
                yield dict(zip(head, line, strict=True))
    except StopIteration:
        raise RowsError(f"{path}: empty, no head") from None
    except csv.Error as error:
        raise RowsError(f"{path} line {lines.line_num}: not a table: {error}") from error


def _record(number: int, line: Mapping[str, str]) -> dict[str, Any]:
    lower = {name.lower(): value.strip() for name, value in line.items()}
    value = {field: next((lower[name] for name in names if name in lower), "") for field, names in _NAMES.items()}
    options = _options(value["options"]) or _option_columns(lower)
    return {
        "problem_id": int(value["problem_id"]) if value["problem_id"].isdecimal() else number,
        "problem": value["problem"],
        "data_type": value["data_type"] or ("image" if value["path"].lower().endswith(IMAGES) else "video"),
        "problem_type": value["problem_type"] or ("multiple choice" if options else "free-form"),
        "options": options,
        "solution": solution_of(value["answer"], options),
        "path": value["path"],
        "skill": value["skill"],
    }


def solution_of(answer: str, options: list[str]) -> str:
    """Tagged truth; the letter of the option whose text the answer is."""
    if _ANSWER.fullmatch(answer):
        return answer
    texts = [unlettered(option, letter) for option, letter in zip(options, LETTERS, strict=False)]
    if answer not in [*LETTERS[: len(options)], ""]:
        letter = _LETTER.fullmatch(answer)
        if texts.count(answer) == 1:
            answer = LETTERS[texts.index(answer)]
        elif options.count(answer) == 1:
            answer = LETTERS[options.index(answer)]
        elif letter and options and answer not in texts:
            answer = letter.group(1).upper()
    return f"<answer>{answer}</answer>"


def _options(text: str) -> list[str]:
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except ValueError:
            listed = None
        if isinstance(listed, list) and all(isinstance(option, str) for option in listed):
            return listed
    return [option.strip() for option in text.split("|")] if text else []


def _option_columns(line: Mapping[str, str]) -> list[str]:
    filled = [(name, value) for name, value in line.items() if value and _OPTION_COLUMN.fullmatch(name)]
    return [value for _, value in sorted(filled)]
