"""Reading one number from an answer, as people, tables and LaTeX write it."""

from __future__ import annotations

import math
import re

_SIGNS = str.maketrans("−–＋－．，：％＝０１２３４５６７８９⁄\u00a0\u202f\u2009", "--+-.,:%=0123456789/   ")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_POWER = re.compile(r"(?<=[\d)}])[⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_NAME_ENDS = r"(?![A-Za-z])"
_REWRITTEN = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\\[()\[\]]|\$|\*\*", ""),
        (rf"\\(?:text|math|display)?(?:rm|bf|it|sf|tt|style|md)?(?:left|right|boxed|fbox|mbox){_NAME_ENDS}", ""),
        (rf"\\(?:text|math)(?:rm|bf|it|sf|tt)?{_NAME_ENDS}|\\(?:rm|bf|displaystyle|operatorname){_NAME_ENDS}", ""),
        (rf"\\[,;:! ]|\\q?quad{_NAME_ENDS}", " "),
        (r"\{,\}", ","),
        (r"\\%", "%"),
        (rf"\^\s*(?:\{{\s*\\circ\s*\}}|\\circ{_NAME_ENDS})|\\(?:circ|degree){_NAME_ENDS}", "°"),
        (rf"\\(?:times|cdot){_NAME_ENDS}|[✕⋅]", "×"),
        (rf"\\(?:approx|sim|simeq){_NAME_ENDS}", "≈"),
        (rf"\\pi{_NAME_ENDS}", "π"),
        (rf"\\sqrt{_NAME_ENDS}|\bsqrt(?=\()", "√"),
        (r"\\[dtc]frac", r"\\frac"),
    )
)
_LEAD = re.compile(
    r"[\s~≈=$€£¥₹({\[]+|(?:approximately|approx\.?|about|around|roughly|nearly|almost|circa)\b\s*"
    r"|(?:so|thus|therefore|hence),?\s+|(?:the\s+)?(?:(?:correct|final|total)\s+)?(?:answer|value|number|total)\s*(?:is\b|[:=])\s*"
    r"|(?:最终|正确)?答案(?:是|为)?[:：]?\s*|约|大约|[A-Za-z\\][A-Za-z0-9_\\{}]{0,20}\s*=\s*",
    re.IGNORECASE,
)
_DIGITS = re.compile(
    r"\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d{1,3}(?: \d{3})+(?!\d)(?! ?/)(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+"
)
_EXPONENT = re.compile(r"[eE][+-]?\d+")
_RAISED = re.compile(r"\s*\^\s*(?:\{\s*([+-]?\d{1,4})\s*\}|\(\s*([+-]?\d{1,4})\s*\)|([+-]?\d{1,4}))")
_TENS = re.compile(r"\s*[×*xX]\s*10(?=\s*\^)")
_TIMES = re.compile(r"\s*×?\s*(?=[√π])")
_SLASH = re.compile(r"\s*/\s*(?=[\d.√π({\\])")
_MIXED = re.compile(r"(\d+)(?:\s+(?=\d+\s*/\s*\d)|\s*(?=\\frac))")
_MAGNITUDES = {
    **{"dozen": 12.0, "hundred": 1e2, "thousand": 1e3, "lakh": 1e5, "million": 1e6, "crore": 1e7, "billion": 1e9},
    **{"mln": 1e6, "bn": 1e9, "trillion": 1e12, "百": 1e2, "千": 1e3, "万": 1e4, "萬": 1e4, "亿": 1e8, "億": 1e8},
}
_MAGNITUDE = re.compile(
    r"\s*-?(?:(dozen|hundred|thousand|lakh|million|crore|billion|mln|bn|trillion)s?\b|([百千万萬亿億]))", re.IGNORECASE
)
# What may follow: a unit or words, whose letters may carry an exponent of one digit; a further digit would be a second
# number, and a further sign a formula.
_TAIL = re.compile(
    r"(?:[\s%‰°′″./,;:!'\"_€£¥₹\\(){\[\]·&~。，、℃℉]"
    r"|[^\W\d_](?:[²³]|\^?\{?-?\d\}?(?!\d))?|\}(?:\^\{?-?\d\}?(?!\d))?|-(?=[^\W\d_]))*"
)
_DEGREE = re.compile(r"\[(\d)\]")
_DIGIT = re.compile(r"\d")
_DEEPEST = 8


def parse_number(text: str) -> float | None:
    r"""The one number an answer states, or None.

    Read: "1,000" and "12 000" (groups of three), "42.0", ".5", "-3", "1e3", "3/4", "1 1/2", "3 × 10^5"; LaTeX of these,
    with fractions, roots and pi (`\frac12`, `2\sqrt{3}`); "x = 5", "about 5", "the answer is 5"; "$5", "5 %", "5 cm",
    "3 m/s^2" and "12个" (percent signs and units are dropped, never converted); "5 million", "5万" (multiplied out).
    Not read: NaN, infinity, "3 or 4", "5-6", "1:30", "1,5" (a decimal comma or two numbers), number words, sums.
    """
    plain = text.translate(_SIGNS)
    plain = _POWER.sub(lambda power: "^" + power.group().translate(_SUPERSCRIPTS), plain)
    for pattern, instead in _REWRITTEN:
        plain = pattern.sub(instead, plain)
    at = 0
    while (lead := _LEAD.match(plain, at)) is not None:
        at = lead.end()
    sign = -1.0 if plain[at : at + 1] == "-" else 1.0
    at += plain[at : at + 1] in ("-", "+")
    read = _quotient(plain, _skip(plain, at), 0)
    if read is None:
        return None
    value, at = read
    while (magnitude := _MAGNITUDE.match(plain, at)) is not None:
        value, at = value * _MAGNITUDES[(magnitude.group(1) or magnitude.group(2)).lower()], magnitude.end()
    if not _TAIL.fullmatch(plain, at) or not math.isfinite(value):
        return None
    return sign * value


def _quotient(text: str, at: int, depth: int) -> tuple[float, int] | None:
    """(value, end) of a product, a fraction of two products or a whole number with such a fraction."""
    whole = 0.0
    if (mixed := _MIXED.match(text, at)) is not None:
        whole, at = float(mixed.group(1)), mixed.end()
    above = _product(text, at, depth)
    if above is None:
        return None
    value, end = above
    if (slash := _SLASH.match(text, end)) is not None:
        below = _product(text, slash.end(), depth)
        if below is None or below[0] == 0:
            return None
        value, end = value / below[0], below[1]
    return whole + value, end


def _product(text: str, at: int, depth: int) -> tuple[float, int] | None:
    """A number, times a power of ten, times roots and pi."""
    factor = _factor(text, at, depth)
    if factor is None:
        return None
    value, end = factor
    if (tens := _TENS.match(text, end)) is not None:
        power = _raised(10.0, text, tens.end())
        if power is None:
            return None
        value, end = value * power[0], power[1]
    while (times := _TIMES.match(text, end)) is not None:
        factor = _factor(text, times.end(), depth)
        if factor is None:
            return None
        value, end = value * factor[0], factor[1]
    return value, end


def _factor(text: str, at: int, depth: int) -> tuple[float, int] | None:
    """A number, a root, pi or a LaTeX fraction, raised to a whole power or not."""
    if depth > _DEEPEST:
        return None
    if text.startswith("π", at):
        return math.pi, at + 1
    if text.startswith("√", at):
        return _root(text, at + 1, depth)
    if text.startswith("\\frac", at):
        above = _argument(text, at + 5, depth)
        below = above and _argument(text, above[1], depth)
        return (above[0] / below[0], below[1]) if above and below and below[0] else None
    digits = _DIGITS.match(text, at)
    if digits is None:
        return None
    exponent = _EXPONENT.match(text, digits.end())
    end = exponent.end() if exponent else digits.end()
    spelled = digits.group().replace(",", "").replace(" ", "") + (exponent.group() if exponent else "")
    return _raised(float(spelled), text, end)


def _root(text: str, at: int, depth: int) -> tuple[float, int] | None:
    degree = 2
    if (index := _DEGREE.match(text, at)) is not None:
        degree, at = int(index.group(1)), index.end()
    inside = _argument(text, at, depth)
    return (inside[0] ** (1 / degree), inside[1]) if inside and degree else None


def _argument(text: str, at: int, depth: int) -> tuple[float, int] | None:
    """What a root or fraction is of: one digit, or braces or brackets around a value."""
    at = _skip(text, at)
    closing = {"{": "}", "(": ")"}.get(text[at : at + 1])
    if closing is None:
        digits = _DIGIT.match(text, at) if text[at - 1 : at] != "√" else _DIGITS.match(text, at)
        return (float(digits.group().replace(",", "").replace(" ", "")), digits.end()) if digits else None
    at = _skip(text, at + 1)
    sign = -1.0 if text.startswith("-", at) else 1.0
    read = _quotient(text, _skip(text, at + (sign < 0)), depth + 1)
    if read is None or not text.startswith(closing, end := _skip(text, read[1])):
        return None
    return sign * read[0], end + 1


def _raised(base: float, text: str, at: int) -> tuple[float, int] | None:
    raised = _RAISED.match(text, at)
    if raised is None:
        return base, at
    try:
        return float(base ** int(raised.group(1) or raised.group(2) or raised.group(3))), raised.end()
    except (OverflowError, ZeroDivisionError):
        return None


def _skip(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at
