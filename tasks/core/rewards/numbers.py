"""Reading one number from an answer."""

from __future__ import annotations

import math
import re

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+"
_NUMBER = re.compile(rf"([+-]?)\s*(?:{_DIGITS})(?:[eE][+-]?\d+)?")
_FRACTION = re.compile(rf"([+-]?)\s*(?:(\d+)\s+)?({_DIGITS})\s*/\s*({_DIGITS})")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_LATEX_WRAPPER = re.compile(r"\\(?:text|mathrm|boxed|mathbf)\s*\{([^{}]*)\}")
_LEAD = re.compile(r"^[\s~≈=$€£¥]+|^approximately\s+|^about\s+", re.IGNORECASE)
# A unit may follow: words and signs without digits; a further digit would be a second number.
_UNIT = re.compile(r"[\sA-Za-z%°²³./'\"^_$€£¥\\()µΩ]*")
_PLAIN = str.maketrans({"−": "-", "–": "-", "⁄": "/", "\u00a0": " ", "\u202f": " ", "{": " ", "}": " "})


def parse_number(text: str) -> float | None:
    """The one number an answer states, or None.

    Read: "1,000" (groups of three), "42.0", ".5", "-3", "1e3", "3/4", "1 1/2", LaTeX fractions, "$5", "5 %" and "5 cm"
    (percent signs and units are dropped, never converted), "~5", "about 5".
    Not read: NaN, infinity, "3 or 4", "1,5" (a decimal comma or two numbers), number words.
    """
    plain = _plain(text)
    fraction = _FRACTION.match(plain)
    if fraction and _UNIT.fullmatch(plain, fraction.end()):
        return _quotient(*fraction.groups())
    found = _NUMBER.match(plain)
    if found is None or not _UNIT.fullmatch(plain, found.end()):
        return None
    value = float(found.group().replace(",", "").replace(" ", ""))
    return value if math.isfinite(value) else None


def _plain(text: str) -> str:
    """Unwrap LaTeX, drop what may stand before a number."""
    plain = _LATEX_FRACTION.sub(r"\1/\2", text)
    plain = _LATEX_WRAPPER.sub(r"\1", plain).translate(_PLAIN)
    return _LEAD.sub("", plain.strip()).strip()


def _quotient(sign: str, whole: str | None, above: str, below: str) -> float | None:
    divisor = float(below.replace(",", ""))
    if divisor == 0:
        return None
    value = float(whole or 0) + float(above.replace(",", "")) / divisor
    if not math.isfinite(value):
        return None
    return -value if sign == "-" else value
