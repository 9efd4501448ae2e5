"""Reading one number from an answer, as people, tables and LaTeX write it."""

from __future__ import annotations

import math
import re
import unicodedata

from tasks.core.text.visible import visible

_SIGNS = str.maketrans(
    "−–‑‐﹣＋－．，：％＝￥￡＄０１２３４５６７８９⁄÷’\u00a0\u202f\u2009\u2007", "-----+-.,:%=¥£$0123456789//'    "
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_POWER = re.compile(r"(?<=[\d)}])[⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_VULGAR = re.compile("[¼-¾⅐-⅞↉]")
_NAME_ENDS = r"(?![A-Za-z])"
_REWRITTEN = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\\[()\[\]{}$]|\$", ""),
        (r"(?<!\d)\*\*|\*\*(?![-+]?\d)", ""),
        (r"(?<=\d)\*\*", "^"),
        (rf"\\(?:text|math|display)?(?:rm|bf|it|sf|tt|style|md)?(?:left|right|boxed|fbox|mbox){_NAME_ENDS}", ""),
        (rf"\\(?:text|math)(?:rm|bf|it|sf|tt)?{_NAME_ENDS}", ""),
        (rf"\\(?:rm|bf|displaystyle|operatorname|underline){_NAME_ENDS}", ""),
        (rf"\\[,;:! ]|\\q?quad{_NAME_ENDS}", " "),
        (r"\{,\}", ","),
        (r"\\%", "%"),
        (rf"\^\s*(?:\{{\s*\\circ\s*\}}|\\circ{_NAME_ENDS})|\\(?:circ|degree){_NAME_ENDS}", "°"),
        (rf"\\(?:times|cdot){_NAME_ENDS}|[✕⋅]", "×"),
        (rf"\\(?:approx|sim|simeq){_NAME_ENDS}", "≈"),
        (rf"\\(?:pm|mp){_NAME_ENDS}", "±"),
        (rf"\\pi{_NAME_ENDS}|(?<![A-Za-z\\])pi{_NAME_ENDS}", "π"),
        (rf"\\sqrt{_NAME_ENDS}|\bsqrt(?=\()", "√"),
        (r"\\[dtc]frac", r"\\frac"),
    )
)
GROUNDS = (
    r"(?:based\s+on|according\s+to|looking\s+at|after\s+watching|as\s+(?:shown|seen)\s+in|among|in|from)"
    r"\s+(?:the|this|these)\s[^.,:;\d\n]{1,60},\s+|根据[^。,:;\d\n]{1,30},\s*"
)
"""What an answer may be said to rest on before it is given: "Based on the video, "."""
DECLARED = (
    r"[.,;:!?\n。；]\s*(?:(?:so|thus|therefore|hence|and)[,:]?\s+|(?:所以|因此|故),?)?"
    r"(?=(?:(?:the|my)\s+)?(?:(?:correct|right|final|best)\s+)?answer\s*(?:is\b|:)|(?:正确|最终)?答案)"
)
"""End of the reasoning before an answer that is called one: "It moves left. The answer is "."""
_LEAD = re.compile(
    rf"{GROUNDS}|\D{{1,300}}?{DECLARED}|"
    r"[\s~≈=$€£¥₹({\[*_`\"'“‘#]+|(?:approximately|about|around|roughly|nearly|almost|circa|exactly|precisely|only|just)\b\s*"
    r"|(?:approx|ca)(?:\.|\b)\s*|(?:a\s+|in\s+)?total(?:\s+of\b|,)?\s*(?=\d)"
    r"|(?:USD?|EUR|GBP|CAD?|AUD?|HKD?|RMB|CNY|JPY|INR|Rs\.?)\s*(?=[\d.])"
    r"|(?:so|thus|therefore|hence),?\s+|(?:the\s+)?(?:(?:correct|final|total)\s+)?(?:answer|value|number|total)\s*(?:is\b\s*:?|[:=])\s*"
    r"|(?:there|it|this|that|they|[a-z]|(?:the|its|his|her|their)\s[A-Za-z][A-Za-z' -]{0,60}?)"
    r"\s(?:is|are|was|were|equals)\s+"
    r"|(?:it|that|there)'s\s+|(?:i|we|you)\s+(?:can\s+)?(?:see|count|counted)\s+"
    r"|[A-Za-z][A-Za-z' -]{0,60}?\s?[:=]\s*(?=[-+$€£¥\d.\\√π])"
    r"|(?:最终|正确)?答案(?:是|为)?[:：]?\s*|大?约(?:是|为)?|(?:一|总|合)?共?[共计](?:有|是)?|(?:等于|是|为)"
    r"|(?:视频|图片|图像|画面|图)[中里内]?(?=[有共总一合])|有|[A-Za-z\\][A-Za-z0-9_\\{}]{0,20}\s*[=≈]\s*",
    re.IGNORECASE,
)
_SIGN = re.compile(r"-|(?:minus|negative)\b|负", re.IGNORECASE)
_DIGITS = re.compile(
    r"\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?"
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])(?:\.\d+)?"
    r"|\d{1,3}(?:[ ']\d{3})+(?!\d)(?! ?/)(?:\.\d+|,\d{1,2}(?![\d,]))?"
    r"|\d{1,3}(?:\.\d{3})+,\d{1,2}(?![\d,])|\d{1,3}(?:\.\d{3}){2,}(?![\d.,])"
    r"|\d+(?:\.\d*)?|\.\d+"
)
"""Groups as in English, India, France and Switzerland, Germany; last, digits without groups."""
_EXPONENT = re.compile(r"[eE][+-]?\d+")
_RAISED = re.compile(r"\s*\^\s*(?:\{\s*([+-]?\d{1,4})\s*\}|\(\s*([+-]?\d{1,4})\s*\)|([+-]?\d{1,4}))")
_TENS = re.compile(r"\s*[×*xX·]\s*10(?=\s*\^)")
_TIMES = re.compile(r"\s*×?\s*(?=[√π])")
_SLASH = re.compile(r"\s*/\s*(?=[\d.√π({\\])")
_MIXED = re.compile(r"(\d+)(?:\s+(?:and\s+)?(?=\d+\s*/\s*\d)|\s*(?=\\frac))")
_MAGNITUDES = {
    **{"dozen": 12.0, "hundred": 1e2, "thousand": 1e3, "lakh": 1e5, "million": 1e6, "crore": 1e7, "billion": 1e9},
    **{"mln": 1e6, "bn": 1e9, "trillion": 1e12, "tenth": 1e-1, "hundredth": 1e-2, "thousandth": 1e-3},
    **{"millionth": 1e-6, "k": 1e3, "百": 1e2, "千": 1e3, "万": 1e4, "萬": 1e4, "亿": 1e8, "億": 1e8},
}
_MAGNITUDE = re.compile(
    r"\s*-?(?:(dozen|tenth|(?:hundred|thousand|million)(?:th)?|lakh|crore|billion|mln|bn|trillion)s?\b"
    r"|([百千万萬亿億]|(?<=\d)(?-i:k)(?![A-Za-z])))",
    re.IGNORECASE,
)
# What may follow: a unit or words, whose letters may carry an exponent of one digit; a further digit would be a second
# number, and a further sign a formula.
_TAIL = re.compile(
    r"(?:[\s%‰°′″./,;:!'\"_€£¥₹(){\[\]·&~`”。，、℃℉]"
    r"|[^\W\d_](?:⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}|\^?\{?-?\d\}?(?!\d))?|\}(?:\^\{?-?\d\}?(?!\d))?"
    r"|-(?=[^\W\d_]|\s+[^\W\d_]{2})|(?:(?<=[^\W\d_])|(?<=\}))[*×](?=\s*\{?[^\W\d_])|\*+(?=[\s.,;!]|$)"
    r"|\\(?:[A-Za-z]+(?![A-Za-z\d^])|\\|(?=\s|$)))*"
)
_REASON = re.compile(
    r"(?<![\s,;.(])[\s,;.(]+(?:because|since)\b.*"
    r"|(?<!\s)[^\S\n]*\n\s*(?:(?:because|since|as|explanation|reason(?:ing)?|note|this|that|here|there|the|we|i)"
    r"\b|因为|解释|理由|说明).*",
    re.DOTALL | re.IGNORECASE,
)
_SECOND_ANSWER = re.compile(r"\banswer|答案", re.IGNORECASE)
_DEGREE = re.compile(r"\[(\d)\]")
_DIGIT = re.compile(r"\d")
_DEEPEST = 8


def parse_number(text: str) -> float | None:
    r"""The one number an answer states, or None.

    Read: "1,000", "12 000", "1'000", "1.000.000" and "1,00,000" (groups), "1.234,56", "42.0", ".5", "-3", "1e3", "3/4",
    "1 1/2", "1½", "3 × 10^5"; LaTeX of these, with fractions, roots and pi (`\frac12`, `2\sqrt{3}`); "x = 5",
    "Count: 5", "about 5", "the answer is 5", "there are 5 balls", "minus 5", "5 because 3 + 2 = 5"; "$5", "5 %",
    "5 cm", "3 m/s^2", "12个" (percent signs and units are dropped, never converted); "5 million", "12k", "5万"
    (multiplied out).
    Not read: NaN, infinity, "3 or 4", "5-6", "5 ± 1", "at least 5", "1:30", "1,5" (a decimal comma or two numbers),
    number words, sums.
    """
    plain = _without_reason(visible(text).translate(_SIGNS))
    plain = _VULGAR.sub(lambda fraction: f" {unicodedata.normalize('NFKC', fraction.group())}".translate(_SIGNS), plain)
    plain = _POWER.sub(lambda power: "^" + power.group().translate(_SUPERSCRIPTS), plain)
    for pattern, instead in _REWRITTEN:
        plain = pattern.sub(instead, plain)
    at = 0
    while (lead := _LEAD.match(plain, at)) is not None:
        at = lead.end()
    signed = _SIGN.match(plain, at)
    sign, at = (-1.0, signed.end()) if signed else (1.0, at + (plain[at : at + 1] == "+"))
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
    return _raised(float(_ungrouped(digits.group()) + (exponent.group() if exponent else "")), text, end)


def _root(text: str, at: int, depth: int) -> tuple[float, int] | None:
    degree = 2
    if (index := _DEGREE.match(text, at)) is not None:
        degree, at = int(index.group(1)), index.end()
    inside = _argument(text, at, depth)
    # Python would make a complex number of the root of a negative one.
    return (inside[0] ** (1 / degree), inside[1]) if inside and degree and inside[0] >= 0 else None


def _argument(text: str, at: int, depth: int) -> tuple[float, int] | None:
    """What a root or fraction is of: one digit, or braces or brackets around a value."""
    at = _skip(text, at)
    closing = {"{": "}", "(": ")"}.get(text[at : at + 1])
    if closing is None:
        digits = _DIGIT.match(text, at) if text[at - 1 : at] != "√" else _DIGITS.match(text, at)
        return (float(_ungrouped(digits.group())), digits.end()) if digits else None
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


def _ungrouped(digits: str) -> str:
    """A match of `_DIGITS` as Python spells it; a comma is a decimal mark behind groups of another mark alone."""
    plain = digits.replace(" ", "").replace("'", "")
    if plain.count(".") > 1 or 0 <= plain.find(".") < plain.find(","):
        return plain.replace(".", "").replace(",", ".")
    return plain.replace(",", "." if plain != digits else "")


def _without_reason(text: str) -> str:
    """Text up to the reason given behind its first number, unless that names an answer again."""
    first = _DIGIT.search(text)
    reason = _REASON.search(text, first.end()) if first else None
    return text if reason is None or _SECOND_ANSWER.search(reason.group()) else text[: reason.start()]


def _skip(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at
