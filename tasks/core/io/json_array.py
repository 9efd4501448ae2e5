"""Elements of a JSON array, read piece by piece: a broken one costs itself.

    [{"id": 0}, {"id" 1}, {"id": 2}]        element 1 is a fault; reading goes on behind its brackets
    [{"id": 0}, {"id: 1}, {"id": 2}]        no bracket closes it before the next element that begins like the first
    [{"id": 0}, {"id": 1                    the file breaks off: an error

Memory holds one piece at a time; of a file with a broken element, what follows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

PIECE = 1 << 20
"""Characters that are read at once."""
_LONGEST_KEY = 1 << 12
_SPACE = re.compile(r"\s*")
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\]|\\.)*")')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys must differ: which of two values counts is anybody's guess."""
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} comes twice")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=_object)


class ArrayError(ValueError):
    """The array breaks off, or goes on in a way that tells of no next element."""


class Element(NamedTuple):
    """One element."""

    value: Any
    fault: str = ""
    """Why it could not be read; "" when it could."""


def short(error: Exception) -> str:
    """Why a text is no JSON, in a line."""
    return "nested too deep" if isinstance(error, RecursionError) else str(error).splitlines()[0][:200]


class Array:
    """The array in a text, from where the file stands."""

    def __init__(self, file: TextIO, is_alone: bool = True) -> None:
        """`is_alone`: nothing may follow the array."""
        self._file, self._is_alone = file, is_alone
        self._text, self._at, self._is_whole, self._is_tried = "", 0, False, False
        self._begin: re.Pattern[str] | None = None

    def elements(self) -> Iterator[Element]:
        """Elements in order. A comma too many at the end, or one that is missing before a next element, costs nothing.

        Raises:
            ArrayError: the array breaks off, is broken where no next element can be told, or something follows it.
            UnicodeError: the file is not in its encoding.
        """
        if self._peek() != "[":
            raise ArrayError("'[' is missing")
        self._at += 1
        self._begin = self._first()
        number = 0
        while self._goes_on(number):
            values = self._several()
            yield from map(Element, values)
            number += len(values)
            if not values:
                yield self._element(number)
                number += 1
        self._at += 1
        if self._is_alone and self._peek():
            raise ArrayError("more behind the array")

    def _first(self) -> re.Pattern[str] | None:
        """How the first element begins: a bracket and its first key; None where it is no object or has no key."""
        if self._peek() != "{":
            return None
        while not (first := _FIRST_KEY.match(self._text, self._at)):
            if len(self._text) - self._at > _LONGEST_KEY or not self._more():
                return None
        return re.compile(r"\{\s*" + re.escape(first.group(1)))

    def _goes_on(self, number: int) -> bool:
        """Whether an element follows; steps over the comma before it."""
        mark = self._peek()
        if not mark:
            raise ArrayError("']' is missing, the file breaks off or is damaged")
        if number and mark == ",":
            self._at += 1
            mark = self._peek()
        return mark != "]"

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
            values: list[Any] = DECODER.decode(f"[{self._text[self._at : end]}]")
        except (ValueError, RecursionError):
            return []
        self._at = end
        return values

    def _element(self, number: int) -> Element:
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                return self._broken(number, error.msg)
            except (ValueError, RecursionError) as error:  # a key twice; a number of too many digits; too deep
                self._at = self._past()
                return Element(None, short(error))
            # A number at the end of what was read may go on.
            if end < len(self._text) or not self._more():
                break
        self._at = end
        if self._peek() in ("", ",", "]") or self._is_begun():
            return Element(value)
        return self._broken(number, "',' is missing")

    def _is_begun(self) -> bool:
        """Whether here is what begins like the first element."""
        while self._begin and self._text[self._at] == "{":
            if self._begin.match(self._text, self._at):
                return True
            if not self._more():
                break
        return False

    def _broken(self, number: int, why: str) -> Element:
        """A fault; reading goes on behind its last bracket or where the next element begins, whichever comes first.

        Raises:
            ArrayError: neither is there.
        """
        while self._more():
            pass
        found = self._begin.search(self._text, self._at + 1) if self._begin else None
        places = [found.start()] if found else []
        if self._text[self._at : self._at + 1] in ("{", "[") and (closed := self._closed()):
            behind = _SPACE.match(self._text, closed)
            if behind and self._text[behind.end() : behind.end() + 1] in (",", "]"):
                places.append(closed)
        if not places:
            raise ArrayError(f"element {number}: {why}")
        self._at = min(places)
        return Element(None, why)

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
        return self._closed() or len(self._text)

    def _closed(self) -> int:
        """Behind the bracket that closes the one at hand; 0 where none does."""
        depth = 0
        for mark in _STRUCTURE.finditer(self._text, self._at):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark.group(), 0)
            if depth <= 0:
                return mark.end() if depth == 0 else mark.start()
        return 0

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

    def _more(self) -> bool:
        """Read on; False at the end of the file."""
        if self._is_whole:
            return False
        piece = self._file.read(max(PIECE, len(self._text) - self._at))
        self._is_whole = not piece
        self._text, self._at, self._is_tried = self._text[self._at :] + piece, 0, False
        return bool(piece)
