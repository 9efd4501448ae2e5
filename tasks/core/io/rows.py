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
from tasks.core.io.tables import open_parquet

FORMATS = (".json", ".jsonl", ".parquet")
_PIECE_BYTES = 1 << 20
_PARQUET_ROWS = 4096
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SPACE = re.compile(r"\s*")
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_RESULTS = re.compile(r'\s*\{\s*"results"\s*:\s*(?=\[)')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys must differ: which of two values counts is anybody's guess."""
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} comes twice")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


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
            beginning = file.read(_PIECE_BYTES)
        except UnicodeError as error:
            raise RowsError(f"{path}: not JSON: {error}") from error
    wrapped = _RESULTS.match(beginning)
    if wrapped or beginning.lstrip()[:1] == "[":
        return _Array(path, wrapped.end() if wrapped else 0).rows()
    if _is_lines(beginning):
        return _lines(path)
    try:
        kind = type(json.loads(beginning)).__name__
    except (ValueError, RecursionError) as error:
        raise RowsError(f"{path}: not JSON: {error}") from error
    raise RowsError(f"{path}: not a JSON array but {kind}")


class _Array:
    """A JSON array read piece by piece."""

    def __init__(self, path: Path, skip: int) -> None:
        """`skip`: characters before the array."""
        self._path, self._skip = path, skip
        self._text, self._at, self._is_whole, self._is_tried = "", 0, False, False

    def rows(self) -> Iterator[RawRow]:
        """Elements in order.

        Raises:
            RowsError: the array breaks off, or holds something that is not JSON.
        """
        with open_text(self._path) as file:
            self._file = file
            file.read(self._skip)
            self._take("[")
            number = 0
            while self._peek() != "]":
                if number:
                    self._take(",")
                values = self._several()
                for value in values:
                    yield RawRow(number, value)
                    number += 1
                if not values:
                    yield self._element(number)
                    number += 1
            self._at += 1
            if not self._skip and self._peek():
                raise RowsError(f"{self._path}: not JSON: more behind the array")

    def _several(self) -> list[Any]:
        """All elements but the last of what was read, decoded at once; none where they have to be read one by one.

        The text up to a bracket and a comma, in brackets, is an array only if the bracket closes an element: anything
        else breaks off or leaves something over. So these are the elements that reading one by one would give.
        """
        if self._is_tried:
            return []
        self._is_tried = True
        end = self._text.rfind("},") + 1
        if end <= self._at:
            return []
        try:
            values: list[Any] = _DECODER.decode(f"[{self._text[self._at : end]}]")
        except (ValueError, RecursionError):
            return []
        self._at = end
        return values

    def _element(self, number: int) -> RawRow:
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    raise RowsError(f"{self._path}: not JSON: element {number}: {error.msg}") from error
                continue
            except (ValueError, RecursionError) as error:  # a key twice; a number of too many digits; too deep
                self._at = self._past()
                return RawRow(number, None, f"{self._path} element {number}: not JSON: {_short(error)}")
            # A number at the end of what was read may go on.
            if end == len(self._text) and self._more():
                continue
            self._at = end
            return RawRow(number, value)

    def _past(self) -> int:
        """Behind the element at hand: as JSON, else by its brackets alone."""
        while True:
            try:
                return json.JSONDecoder().raw_decode(self._text, self._at)[1]
            except json.JSONDecodeError:
                if not self._more():
                    break
            except (ValueError, RecursionError):
                break
        while self._more():
            pass
        depth = 0
        for mark in _STRUCTURE.finditer(self._text, self._at):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark.group(), 0)
            if depth <= 0:
                return mark.end() if depth == 0 else mark.start()
        return len(self._text)

    def _peek(self) -> str:
        """Next character that is not white space; "" at the end."""
        if self._at < len(self._text) and not (character := self._text[self._at]).isspace():
            return character
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _take(self, mark: str) -> None:
        if self._peek() != mark:
            raise RowsError(f"{self._path}: not JSON: {mark!r} is missing, the file breaks off or is damaged")
        self._at += 1

    def _more(self) -> bool:
        """Read on; False at the end of the file."""
        if self._is_whole:
            return False
        try:
            piece = self._file.read(max(_PIECE_BYTES, len(self._text) - self._at))
        except UnicodeError as error:
            raise RowsError(f"{self._path}: not JSON: {error}") from error
        self._is_whole = not piece
        self._text, self._at, self._is_tried = self._text[self._at :] + piece, 0, False
        return bool(piece)


def _lines(path: Path) -> Iterator[RawRow]:
    row = 0
    for number, line in _numbered_lines(path):
        if not line.strip():
            continue
        try:
            yield RawRow(row, _DECODER.decode(line.decode() if isinstance(line, bytes) else line))
        except (ValueError, RecursionError) as error:
            yield RawRow(row, None, f"{path} line {number}: not JSON: {_short(error)}")
        row += 1


def _numbered_lines(path: Path) -> Iterator[tuple[int, str | bytes]]:
    """(line, content), lines from 1; UTF-8 undecoded, so that a bad byte costs its line."""
    encoding = encoding_of(path)
    if encoding.startswith("utf-8"):
        with path.open("rb") as binary:
            for number, line in enumerate(binary, start=1):
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        return
    # Spelled out, a bad byte is no JSON.
    with path.open(encoding=encoding, errors="backslashreplace", newline="\n") as file:
        yield from enumerate(file, start=1)


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
                yield None, _short(error)
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


def _short(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error).splitlines()[0][:200]
