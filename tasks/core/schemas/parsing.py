"""One raw record of a source to the record that every stage speaks: every field checked, each fault named.

Only what reads sources imports this: no later stage depends on how they are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasks.core.io.errors import StageError
from tasks.core.schemas.records import DATA_TYPES, PROBLEM_TYPES, SOLUTION, Record, texts_in
from tasks.core.text import spelled
from tasks.core.text.options import is_letter_of, lettered, misfit, repeats
from tasks.core.text.visible import visible

_TAG = re.compile(r"</?(?:answer|think)>")


class RecordError(StageError):
    """A raw record that cannot be used: `where` (file and row), `field` and `reason`."""

    def __init__(self, where: str, field: str, reason: str) -> None:
        super().__init__(f"{where}: {field}: {reason}")
        self.where, self.field, self.reason = where, field, reason


def parse_record(raw: object, where: str) -> Record:
    """Check one raw record of a source and give it its types; keys outside the format are left out.

    Raises:
        RecordError: names `where`, the field and the reason.
    """
    return Record(**record_fields(raw, where))


def record_fields(raw: object, where: str) -> dict[str, Any]:
    """Fields of the record that `parse_record` gives, for a caller that has one to change.

    Raises:
        RecordError: as there.
    """
    if not isinstance(raw, Mapping):
        raise RecordError(where, "record", f"not an object but {type(raw).__name__}")
    problem_type = _one_of(raw, "problem_type", PROBLEM_TYPES, where)
    options = _options(raw, problem_type, where)
    fields = {
        "problem_id": _integer(raw, "problem_id", where),
        "problem": _text(raw, "problem", where),
        "data_type": _one_of(raw, "data_type", DATA_TYPES, where),
        "problem_type": problem_type,
        "options": options,
        "process": _optional_text(raw, "process", where),
        "solution": _solution(raw, problem_type, options, where),
        "path": _text(raw, "path", where),
        "data_source": _optional_text(raw, "data_source", where),
        "temporal": _optional_flag(raw, "temporal", where),
        "skill": _optional_text(raw, "skill", where),
    }
    if (field_and_reason := spelled(texts_in(fields))) is not None:
        raise RecordError(where, *field_and_reason)
    return fields


def _value(raw: Mapping[str, Any], field: str, where: str) -> Any:
    if raw.get(field) is None:
        raise RecordError(where, field, "missing")
    return raw[field]


def _text(raw: Mapping[str, Any], field: str, where: str) -> str:
    value = _value(raw, field, where)
    if not isinstance(value, str):
        raise RecordError(where, field, f"not text but {type(value).__name__}")
    if not visible(value).strip():
        raise RecordError(where, field, "empty")
    return _encodable(value, field, where)


def _encodable(value: str, field: str, where: str) -> str:
    """Refuse half surrogates, which JSON can spell but no file can hold; bytes that are not UTF-8 are read as such."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        what = f"byte 0x{code - 0xDC00:02X} is not UTF-8," if 0xDC80 <= code <= 0xDCFF else "not valid Unicode"
        raise RecordError(where, field, f"{what} at character {error.start}") from error
    return value


def _optional_text(raw: Mapping[str, Any], field: str, where: str) -> str:
    value = raw.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordError(where, field, f"not text but {type(value).__name__}")
    return _encodable(value, field, where)


def _optional_flag(raw: Mapping[str, Any], field: str, where: str) -> bool | None:
    value = raw.get(field)
    if value is not None and not isinstance(value, bool):
        raise RecordError(where, field, f"not true, false or null but {value!r}")
    return value


def _integer(raw: Mapping[str, Any], field: str, where: str) -> int:
    value = _value(raw, field, where)
    # Parquet written from pandas turns an integer column with gaps into floats; a bool is an int to Python only.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or abs(value) >= 2**63:
        raise RecordError(where, field, f"not an integer of 64 bits: {value!r}")
    return int(value)


def _one_of(raw: Mapping[str, Any], field: str, allowed: tuple[str, ...], where: str) -> str:
    value = _text(raw, field, where)
    if value not in allowed:
        raise RecordError(where, field, f"unknown {value!r}; one of {', '.join(allowed)}")
    return value


def _options(raw: Mapping[str, Any], problem_type: str, where: str) -> list[str]:
    value = raw.get("options")
    options = [] if value is None else value
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise RecordError(where, "options", "not a list of text")
    for option in options:
        _encodable(option, "options", where)
    if problem_type != "multiple choice":
        return list(options)
    if len(options) < 2:
        raise RecordError(where, "options", f"multiple choice with {len(options)} options")
    if (reason := misfit(options)) is not None:
        raise RecordError(where, "options", reason)
    return lettered(options)


def _solution(raw: Mapping[str, Any], problem_type: str, options: list[str], where: str) -> str:
    value = _text(raw, "solution", where)
    tagged = SOLUTION.fullmatch(value.strip())
    if tagged is None:
        raise RecordError(where, "solution", f"not <answer>..</answer>: {_short(value)}")
    truth = tagged.group(1).strip()
    if not truth:
        raise RecordError(where, "solution", "empty answer")
    if (tag := _TAG.search(truth)) is not None:
        raise RecordError(where, "solution", f"{tag.group()} within the answer: one answer is wanted")
    if problem_type == "multiple choice":
        if not is_letter_of(truth, options):
            raise RecordError(where, "solution", f"{truth!r} is the letter of none of the {len(options)} options")
        if (twin := repeats(options, truth)) is not None:
            raise RecordError(where, "options", f"options {truth} and {twin} read the same")
    return value.strip()


def _short(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "..")
