"""Numbers that a user gives as text, on a command line or in the environment."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from collections.abc import Callable
from typing import TypeVar

from tasks.core.io.errors import StageError

Number = TypeVar("Number", int, float)


def whole_number(least: int = 1) -> Callable[[str], int]:
    """`type` of an option that takes a whole number of at least `least`."""

    def read(text: str) -> int:
        return _read(text, int, f"a whole number of at least {least} is wanted", lambda value: value >= least)

    return read


def real_number(*, least: float | None = None, above: float = -math.inf) -> Callable[[str], float]:
    """`type` of an option that takes a finite number of at least `least`, or above `above`."""
    bound = f"above {above:g}" if least is None else f"of at least {least:g}"

    def fits(value: float) -> bool:
        return value > above if least is None else value >= least

    def read(text: str) -> float:
        return _read(text, float, f"a number {bound} is wanted", fits)

    return read


def from_environment(name: str, read: Callable[[str], float], default: float) -> float:
    """Number in an environment variable; `default` where it is not set, or empty.

    Raises:
        StageError: another text; names the variable.
    """
    text = os.environ.get(name, "")
    if not text.strip():
        return default
    try:
        return read(text)
    except argparse.ArgumentTypeError as error:
        raise StageError(f"{name}: {error}") from None


def _read(text: str, convert: Callable[[str], Number], wanted: str, fits: Callable[[Number], bool]) -> Number:
    with contextlib.suppress(ValueError):
        value = convert(text)
        if math.isfinite(value) and fits(value):
            return value
    raise argparse.ArgumentTypeError(f"{wanted}, got {text!r}")
