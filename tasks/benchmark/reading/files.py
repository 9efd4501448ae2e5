"""Annotation files as users download them: JSON, JSON lines or parquet, the first that is there.

Whatever is wrong with a record costs that record: a line that is not JSON, a byte that is not UTF-8, a missing field.
Lines end at a newline alone (U+2028 inside a text is text), and a byte order mark is no part of a line.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.benchmark.base import Annotations, Sample, SuiteError
from tasks.core.io.rows import python_rows
from tasks.core.text.visible import visible

_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")')
_SPACE = re.compile(r"[ \t\r\n]*")


class Unreadable(NamedTuple):
    """In place of a record that cannot be read, with the reason."""

    reason: str


Located = tuple[str, Any]
"""Where a record is (file with line or number), and the record or `Unreadable`."""


def find(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of the first pattern that matches any, sorted by name.

    Raises:
        SuiteError: none matches; lists what was looked for.
    """
    for pattern in patterns:
        if matches := sorted(folder.glob(pattern)):
            return matches
    raise SuiteError(f"{folder}: no annotation file; looked for {', '.join(patterns)}")


def rows_of(path: Path) -> Iterator[Located]:
    """Records of a parquet, JSON lines or JSON array file, each with where it is.

    Pictures embedded in parquet are left unread. A file that cannot be read at all is one `Unreadable`.
    """
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            plain = [column.name for column in file.schema_arrow if not _is_picture(column.type)]
            rows = chain.from_iterable(map(python_rows, file.iter_batches(columns=plain)))
            for number, (row, fault) in enumerate(rows):
                yield f"{path}: record {number}", Unreadable(fault) if fault else row
        elif path.suffix == ".jsonl":
            yield from _lines(path)
        else:
            yield from _array(path)
    except (SuiteError, OSError, pa.ArrowException) as error:
        yield str(path), Unreadable(str(error).removeprefix(f"{path}: "))


def _is_picture(kind: pa.DataType) -> bool:
    """Whether a column holds embedded pictures: an object with bytes."""
    return pa.types.is_struct(kind) and any(pa.types.is_binary(field.type) for field in kind.fields)


def rows_of_all(paths: Iterable[Path]) -> Iterator[Located]:
    """Records of several files, one after the other."""
    return (pair for path in paths for pair in rows_of(path))


def tree_of(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SuiteError: not JSON, or not an object.
    """
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError, OSError) as error:
        raise SuiteError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SuiteError(f"{path}: a JSON object is wanted, got {type(value).__name__}")
    return value


def _text(path: Path) -> str:
    """The file's text; bytes that are not UTF-8 become lone surrogates, which `text` refuses field by field."""
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="surrogatepass")
    return data.decode("utf-8-sig", errors="surrogateescape")


def _lines(path: Path) -> Iterator[Located]:
    for number, marked in enumerate(_text(path).split("\n"), start=1):
        where, line = f"{path}: line {number}", marked.removeprefix("\ufeff")
        if line.strip():
            try:
                yield where, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield where, Unreadable(f"not JSON: {error}")


def _array(path: Path) -> Iterator[Located]:
    """Records of a JSON array, one by one; after a broken one, reading goes on at the next that begins like the first.

    Raises:
        SuiteError: not an array.
    """
    text = _text(path)
    at = _skip(text, 0)
    if not text[at:].startswith("["):
        raise SuiteError(f"{path}: a JSON array of records is wanted")
    at, number = _skip(text, at + 1), 0
    first = _FIRST_KEY.search(text, at)
    begin = re.compile(r"\{\s*" + re.escape(first.group(1))) if first else None
    while at < len(text) and text[at] != "]":
        where = f"{path}: record {number}, line {text.count(chr(10), 0, at) + 1}"
        number += 1
        try:
            row, end = json.JSONDecoder().raw_decode(text, at)
            end = _skip(text, end)
            if text[end : end + 1] not in (",", "]"):
                raise ValueError("no comma or bracket behind the record")
            yield where, row
            at = _skip(text, end + 1) if text[end] == "," else end
        except (ValueError, RecursionError) as error:
            yield where, Unreadable(f"not JSON: {error}")
            following = begin.search(text, at + 1) if begin else None
            if following is None:
                return
            at = following.start()
    if at >= len(text):
        yield f"{path}: line {text.count(chr(10)) + 1}", Unreadable("the file ends before its array does")


def _skip(text: str, at: int) -> int:
    """Place of the first character that is not white space, from `at` on."""
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def text(row: Any, field: str, where: str) -> str:
    """A text field; whole numbers are taken as their digits.

    Raises:
        SuiteError: missing, empty, neither text nor a whole number, or not valid Unicode.
    """
    value = _object(row, where).get(field)
    if isinstance(value, str):
        if not visible(value).strip():
            raise SuiteError(f"{where}: {field}: empty")
        return _encodable(value, field, where)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise SuiteError(f"{where}: {field}: " + ("missing" if value is None else f"not text but {value!r}"))


def texts(row: Any, field: str, where: str) -> list[str]:
    """A list of text, empty when null.

    Raises:
        SuiteError: anything else.
    """
    value = _object(row, where).get(field)
    if value is None:
        return []
    if (
        isinstance(value, str | Mapping)
        or not isinstance(value, Iterable)
        or not all(isinstance(item, str) for item in value)
    ):
        raise SuiteError(f"{where}: {field}: not a list of text")
    return [_encodable(item, field, where) for item in value]


def mapping(row: Any, field: str, where: str) -> Mapping[str, Any]:
    """An object field, empty when null or missing.

    Raises:
        SuiteError: anything else.
    """
    value = _object(row, where).get(field)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SuiteError(f"{where}: {field}: not an object but {type(value).__name__}")
    return value


def letter(value: str, options: Sequence[str], field: str, where: str) -> str:
    """An option letter that names one of the options.

    Raises:
        SuiteError: it does not.
    """
    if len(value) == 1 and 0 <= ord(value) - ord("A") < len(options):
        return value
    raise SuiteError(f"{where}: {field}: {value!r} is the letter of none of the {len(options)} options")


def collect(rows: Iterable[Located], make: Callable[[Any, str], Sample], files: Sequence[Path]) -> Annotations:
    """Samples of the records; a record that `make` refuses, or whose id occurred before, becomes a fault.

    Raises:
        SuiteError: there are records, and none of them can be used.
    """
    samples: list[Sample] = []
    faults: list[str] = []
    seen: set[str] = set()
    for where, row in rows:
        if isinstance(row, Unreadable):
            faults.append(f"{where}: {row.reason}")
            continue
        try:
            sample = make(row, where)
            _check_text(sample, where)
        except SuiteError as error:
            reason = str(error)
            faults.append(reason if reason.startswith(where) else f"{where}: {reason}")
            continue
        if sample.sample_id in seen:
            faults.append(f"{where}: id {sample.sample_id} comes twice")
            continue
        seen.add(sample.sample_id)
        samples.append(sample)
    if faults and not samples:
        raise SuiteError(f"{faults[0]}; none of {len(faults)} records can be used")
    return Annotations(samples, faults, list(files))


def _object(row: Any, where: str) -> Mapping[str, Any]:
    """The record, which must be an object."""
    if not isinstance(row, Mapping):
        raise SuiteError(f"{where}: not an object but {type(row).__name__}")
    return row


def _check_text(sample: Sample, where: str) -> None:
    """Refuse a sample of which some text, a grouping's too, could not be written to the log of answers."""
    for field in dataclasses.fields(sample):
        value = getattr(sample, field.name)
        held = (
            (*value, *value.values()) if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        )
        for text in held:
            if isinstance(text, str):
                _encodable(text, field.name, where)


def _encodable(value: str, field: str, where: str) -> str:
    """Refuse lone surrogates: bytes that were not UTF-8, or escapes that no file can hold."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        what = f"byte 0x{code - 0xDC00:02X} is not UTF-8" if 0xDC80 <= code <= 0xDCFF else "not valid Unicode"
        raise SuiteError(f"{where}: {field}: {what}, at character {error.start}") from error
    return value
