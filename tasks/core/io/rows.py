"""Rows of the files that people keep records in: a JSON array, JSON lines or parquet, one row at a time.

A row that cannot be read costs itself and is told with file and line; a file that is not of its format raises. Memory
holds one piece of the file at a time, whatever its size.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pyarrow as pa

from tasks.core.io.errors import StageError
from tasks.core.io.json_array import DECODER, PIECE, Array, ArrayError, short
from tasks.core.io.tables import open_parquet

FORMATS = (".json", ".jsonl", ".parquet")
_PARQUET_ROWS = 4096
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_RESULTS = re.compile(r'\s*\{\s*"results"\s*:\s*(?=\[)')


class RowsError(StageError):
    """A file of rows as a whole cannot be read: not there, or not of its format."""


class RawRow(NamedTuple):
    """One row of a file."""

    row: int
    """Position among the rows, from 0."""
    value: Any
    """What the row holds, usually a dict; unchecked."""
    fault: str = ""
    """Why the row could not even be read, with file and line; "" when it could."""


def read_rows(path: Path) -> Iterator[RawRow]:
    """Rows of a JSON array (or an object whose "results" is one), JSON lines or parquet file.

    A `.json` file that holds an object a line is read as JSON lines. Text is UTF-8, or what its byte order mark says.

    Raises:
        RowsError: missing file, unknown suffix, or not of its format; rows before the fault have been given by then.
    """
    if not path.is_file():
        raise RowsError(f"{path}: no such annotation file")
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise RowsError(f"{path}: unknown suffix '{suffix}'; one of {', '.join(FORMATS)}")
    return {".json": _json, ".jsonl": _lines, ".parquet": _parquet}[suffix](path)


def _json(path: Path) -> Iterator[RawRow]:
    with open_text(path) as file:
        try:
            beginning = file.read(PIECE)
        except UnicodeError as error:
            raise RowsError(f"{path}: not JSON: {error}") from error
    wrapped = _RESULTS.match(beginning)
    if wrapped or beginning.lstrip()[:1] == "[":
        return _array(path, wrapped.end() if wrapped else 0)
    if _is_lines(beginning):
        return _lines(path)
    try:
        kind = type(json.loads(beginning)).__name__
    except (ValueError, RecursionError) as error:
        raise RowsError(f"{path}: not JSON: {error}") from error
    raise RowsError(f"{path}: not a JSON array but {kind}")


def _array(path: Path, skip: int) -> Iterator[RawRow]:
    """`skip`: characters before the array."""
    with open_text(path) as file:
        file.read(skip)
        try:
            for row, (value, fault) in enumerate(Array(file, is_alone=not skip).elements()):
                yield RawRow(row, value, f"{path} element {row}: not JSON: {fault}" if fault else "")
        except (ArrayError, UnicodeError) as error:
            raise RowsError(f"{path}: not JSON: {error}") from error


def _lines(path: Path) -> Iterator[RawRow]:
    row = 0
    for number, line in _numbered_lines(path):
        if not line.strip():
            continue
        try:
            yield RawRow(row, DECODER.decode(line.decode() if isinstance(line, bytes) else line))
        except (ValueError, RecursionError) as error:
            yield RawRow(row, None, f"{path} line {number}: not JSON: {short(error)}")
        row += 1


def _numbered_lines(path: Path) -> Iterator[tuple[int, str | bytes]]:
    """(line, content), lines from 1; UTF-8 undecoded, so that a bad byte costs its line.

    Where files with byte order marks were joined, one stands before a later line too.
    """
    encoding = encoding_of(path)
    if encoding.startswith("utf-8"):
        with path.open("rb") as binary:
            for number, line in enumerate(binary, start=1):
                yield number, line.removeprefix(codecs.BOM_UTF8)
        return
    # Spelled out, a bad byte is no JSON.
    with path.open(encoding=encoding, errors="backslashreplace", newline="\n") as file:
        yield from enumerate((line.removeprefix("\ufeff") for line in file), start=1)


def _parquet(path: Path) -> Iterator[RawRow]:
    row = 0
    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(_PARQUET_ROWS):
                for value, fault in python_rows(batch):
                    yield RawRow(row, value, f"{path} row {row}: {fault}" if fault else "")
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise RowsError(f"{path}: not parquet: {error}") from error


def python_rows(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """Rows of a batch as objects; or why one has none: text that is not UTF-8, a date that Python does not know."""
    unreadable = (ValueError, OverflowError, pa.ArrowException)
    try:
        rows = batch.to_pylist()
    except unreadable:
        for place in range(len(batch)):
            try:
                yield batch.slice(place, 1).to_pylist()[0], ""
            except unreadable as error:
                yield None, short(error)
    else:
        yield from ((row, "") for row in rows)


def _is_lines(beginning: str) -> bool:
    """Whether the first line of a text is JSON by itself and another follows."""
    first, newline, behind = beginning.lstrip("\ufeff").lstrip().partition("\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return bool(newline) and bool(behind.strip())


def open_text(path: Path) -> TextIO:
    """A text file in its encoding, ends of lines as they are; bytes that are not UTF-8 become lone surrogates.

    Those are refused field by field, where a file in another encoding raises UnicodeError as a whole.
    """
    encoding = encoding_of(path)
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    return path.open(encoding=encoding, errors=errors, newline="")


def encoding_of(path: Path) -> str:
    """Encoding of a text file: what its byte order mark or its zero bytes say, else UTF-8."""
    with path.open("rb") as file:
        start = file.read(4)
    for mark, name in _BOMS:
        if start.startswith(mark):
            return name
    # JSON begins with an ASCII character: two bytes of UTF-16 show which comes first.
    if start[1:2] == b"\0" and start[:1] != b"\0":
        return "utf-16-le"
    return "utf-16-be" if start[:1] == b"\0" and start[1:2] != b"\0" else "utf-8"
