"""Tables of text, CSV and the like, a line at a time: what is wrong with a line costs it alone."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from tasks.core.io.rows import RowsError, open_text

SEPARATORS = (",", ";", "\t")


def read_lines(path: Path) -> Iterator[dict[str, str] | str]:
    """Lines of a table by their column names; or why one cannot be read, with file and line.

    Text is UTF-8, where a bad byte costs its line as lone surrogates do, or what the byte order mark says.

    Raises:
        RowsError: no such file, not text, no head, or one that names a column twice.
    """
    if not path.is_file():
        raise RowsError(f"{path}: no such annotation file")
    try:
        with open_text(path) as file:
            yield from _named(path, file)
    except UnicodeError as error:
        raise RowsError(f"{path}: not text: {error}") from error


def _named(path: Path, file: TextIO) -> Iterator[dict[str, str] | str]:
    lines = _Lines(file)
    first = next(lines, "")
    head, separator = _head(path, first)
    for number, cells in _cells(lines, separator):
        if isinstance(cells, str):
            yield f"{path} line {number}: not a table: {cells}"
        elif len(cells) != len(head):
            yield f"{path} line {number}: {len(cells)} columns where the head has {len(head)}"
        else:
            yield dict(zip(head, cells, strict=True))


def _head(path: Path, line: str) -> tuple[list[str], str]:
    """Names of the columns and what separates them: of comma, semicolon and tab what makes most columns."""
    if not line.strip():
        raise RowsError(f"{path}: empty, no head")
    try:
        heads = {mark: next(csv.reader([line], delimiter=mark, strict=True)) for mark in SEPARATORS}
    except csv.Error as error:
        raise RowsError(f"{path} line 1: not a table: {error}") from error
    separator = max(heads, key=lambda mark: len(heads[mark]))
    head = [name.strip() for name in heads[separator]]
    twice = [name for name, count in Counter(filter(None, head)).items() if count > 1]
    if twice:
        raise RowsError(f"{path} line 1: column {twice[0]} comes twice")
    return head, separator


class _Lines:
    """Lines of a file that can be given back, with their numbers from 1."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._back = file, list[str]()
        self.number, self.taken = 0, list[str]()
        """The line given last, and all given since `taken` was emptied."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.pop() if self._back else next(self._file)
        self.number += 1
        self.taken.append(line)
        return line

    def give_back(self, count: int) -> None:
        """Give the last lines once more."""
        if count:
            self._back.extend(reversed(self.taken[-count:]))
            self.number -= count


def _cells(lines: _Lines, separator: str) -> Iterator[tuple[int, Sequence[str] | str]]:
    """(number of its last line, cells or what is wrong with it) of every row; one without a content is left out.

    A quote that is never closed takes in what follows: reading goes on at the line behind the one where it opens.
    """
    rows = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.taken.clear()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_back(len(lines.taken) - 1)
            yield lines.number, str(error)
            continue
        if cells:
            yield lines.number, cells
