"""Charts as static SVG text: line charts of training curves and dot charts of accuracies.

Pure functions from numbers to a string. Sizes are CSS pixels of the view box; colours are CSS variables (`--c0`,
`--c1`, ...) and classes of `page.css`, so one drawing serves light and dark. All text is escaped here.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

WIDTH = 330
"""View box width of every chart: about one phone screen, so that text keeps its size at any page width."""
PLOT_HEIGHT = 140
LEFT, RIGHT, BOTTOM = 46, 12, 36
LEGEND_ROW = 16
DOT_ROW = 26
GLYPH = 6.4
"""Mean advance of one character of chart text (12 px), for laying out legends without a font."""
MOST_POINTS = 400
SMOOTH_FROM = 40
"""Curves with at least this many points also get a moving average."""
COLOURS = 8


class Series(NamedTuple):
    """One line. A y of NaN or infinity breaks the line; pairs that were never logged are left out by the caller."""

    name: str
    xs: list[float]
    ys: list[float]
    colour: int = 0


class Dot(NamedTuple):
    """One dot at `value` in [0, 1], with its interval where known."""

    value: float
    low: float | None = None
    high: float | None = None
    colour: int = 0
    shape: Literal["disc", "ring", "cross"] = "disc"


class DotRow(NamedTuple):
    """One row of a dot chart; `note` is printed at its right end."""

    label: str
    dots: list[Dot]
    note: str = ""


def line_chart(
    title: str, series: list[Series], *, x_label: str = "step", percent: bool = False, starts: Sequence[float] = ()
) -> str:
    """Draw lines over a common x axis.

    Args:
        title: Accessible name of the drawing (the page prints its own caption).
        series: Lines; a legend is drawn when there are several.
        x_label: Text under the x axis.
        percent: y values are shares: the axis is in percent, and runs from 0 to 100 unless all are small.
        starts: x values at which a new phase begins, drawn as dashed lines.

    Returns:
        `<svg>` text; without one finite point, a drawing that says so.
    """
    finite = [(x, y) for s in series for x, y in zip(s.xs, s.ys, strict=True) if _finite(x, y)]
    if not finite:
        return _svg(title, 60, _text(WIDTH / 2, 34, "no finite values", "middle"))
    legend, top = _legend([(s.name, _swatch(s.colour)) for s in series] if len(series) > 1 else [])
    low, high = min(x for x, _ in finite), max(x for x, _ in finite)
    # A share that stays small would be a line along the floor of a full axis.
    shares = percent and all(0 <= y <= 1 for _, y in finite) and max(y for _, y in finite) > 0.25
    y_ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if shares else _y_ticks([y for _, y in finite])
    x_of = _scale(low, high, LEFT, WIDTH - RIGHT)
    y_of = _scale(y_ticks[0], y_ticks[-1], top + PLOT_HEIGHT, top)
    parts = [legend, *_axes(x_of, y_of, ticks(low, high, 6), y_ticks, percent)]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, top + PLOT_HEIGHT + 30, x_label, "middle"))
    parts += [_line("phase", x_of(x), x_of(x), top, top + PLOT_HEIGHT) for x in starts if low < x < high]
    for curve in series:
        parts.extend(_curve(curve, x_of, y_of))
    return _svg(title, top + PLOT_HEIGHT + BOTTOM, "".join(parts))


def dot_chart(title: str, rows: list[DotRow], legend: list[tuple[str, Dot]] | None = None) -> str:
    """Draw one row of dots per label on an axis from 0 to 100 %, intervals as whiskers.

    Dots whose value is not finite are left out; several dots of a row share its line.
    """
    label_width = min(130.0, 12 + GLYPH * max((len(row.label) for row in rows), default=0))
    note_width = 14 + GLYPH * max((len(row.note) for row in rows), default=0)
    head, top = _legend([(name, _dot(6, 0, dot)) for name, dot in legend or []])
    x_of = _scale(0.0, 1.0, label_width, WIDTH - max(note_width, float(RIGHT)))
    bottom = top + DOT_ROW * len(rows)
    parts = [head]
    for x in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_line("grid", x_of(x), x_of(x), top, bottom))
        parts.append(_text(x_of(x), bottom + 14, f"{100 * x:.0f}%", "middle"))
    for number, row in enumerate(rows):
        y = top + DOT_ROW * (number + 0.5)
        parts.append(_text(0, y + 3.5, _clip(row.label, 20), "start", "label"))
        dots = [dot for dot in row.dots if math.isfinite(dot.value)]
        if len(dots) > 1:
            ends = (min(dot.value for dot in dots), max(dot.value for dot in dots))
            parts.append(_line("axis", x_of(ends[0]), x_of(ends[1]), y, y))
        for dot in dots:
            if dot.low is not None and dot.high is not None:
                parts.append(
                    f'<line class="whisker" stroke="{_colour(dot.colour)}" x1="{_n(x_of(dot.low))}" '
                    f'x2="{_n(x_of(dot.high))}" y1="{_n(y)}" y2="{_n(y)}"/>'
                )
        # Disc last, so that hollow dots at the same place do not hide it.
        for dot in sorted(dots, key=lambda dot: dot.shape == "disc"):
            parts.append(_dot(x_of(dot.value), y, dot))
        parts.append(_text(WIDTH, y + 3.5, row.note, "end", "label"))
    return _svg(title, bottom + 20, "".join(parts))


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers (1, 2, 2.5 or 5 times a power of ten) covering [low, high]; at least two."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def tick_labels(values: list[float], percent: bool) -> list[str]:
    """Short labels with just enough decimals to tell neighbours apart."""
    step = (values[1] - values[0]) * (100 if percent else 1)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not percent and decimals > 3:
        return [f"{v:.2g}".replace("e-0", "e-") if v else "0" for v in values]
    if round(step, decimals) != round(step, decimals + 1):
        decimals += 1
    if percent:
        return [f"{100 * v:.{decimals}f}%" for v in values]
    if max(abs(v) for v in values) >= 10_000:
        return [f"{v / 1000:g}k" for v in values]
    return [f"{v:.{decimals}f}" for v in values]


def moving_average(ys: list[float], window: int) -> list[float]:
    """Centred mean over up to `window` values, shorter at the ends; values that are not finite are left out."""
    half = window // 2
    means = []
    for at in range(len(ys)):
        near = [y for y in ys[max(0, at - half) : at + half + 1] if math.isfinite(y)]
        means.append(sum(near) / len(near) if near and math.isfinite(ys[at]) else math.nan)
    return means


def thin(xs: list[float], ys: list[float], most: int = MOST_POINTS) -> tuple[list[float], list[float]]:
    """At most about `most` points, keeping each bucket's lowest and highest, so that spikes survive."""
    if len(xs) <= most:
        return xs, ys
    buckets, keep = most // 2, []
    for b in range(buckets):
        bucket = range(b * len(xs) // buckets, (b + 1) * len(xs) // buckets)
        solid = [i for i in bucket if math.isfinite(ys[i])] or list(bucket)[:1]
        keep += sorted({min(solid, key=lambda i: ys[i]), max(solid, key=lambda i: ys[i])})
    return [xs[i] for i in keep], [ys[i] for i in keep]


def _axes(x_of: _Scale, y_of: _Scale, x_ticks: list[float], y_ticks: list[float], percent: bool) -> list[str]:
    """Grid lines and labels; x ticks outside the plot are left out."""
    parts, bottom = [], y_of.start
    for y, label in zip(y_ticks, tick_labels(y_ticks, percent), strict=True):
        parts.append(_line("grid", LEFT, WIDTH - RIGHT, y_of(y), y_of(y)))
        parts.append(_text(LEFT - 6, y_of(y) + 3.5, label, "end"))
    for x, label in zip(x_ticks, tick_labels(x_ticks, False), strict=True):
        if LEFT - 0.5 <= x_of(x) <= WIDTH - RIGHT + 0.5:
            parts.append(_line("axis", x_of(x), x_of(x), bottom, bottom + 4))
            parts.append(_text(x_of(x), bottom + 15, label, "middle"))
    return [*parts, _line("axis", LEFT, WIDTH - RIGHT, bottom, bottom)]


def _curve(series: Series, x_of: _Scale, y_of: _Scale) -> list[str]:
    """The line of one series: raw values, and over noisy long curves their moving average on top."""
    colour = _colour(series.colour)
    if len(series.ys) < SMOOTH_FROM:
        return _strokes(series.xs, series.ys, x_of, y_of, f'class="line" stroke="{colour}"')
    mean = moving_average(series.ys, max(3, len(series.ys) // 20))
    return _strokes(*thin(series.xs, series.ys), x_of, y_of, f'class="raw" stroke="{colour}"') + _strokes(
        *thin(series.xs, mean), x_of, y_of, f'class="line" stroke="{colour}"'
    )


def _strokes(xs: list[float], ys: list[float], x_of: _Scale, y_of: _Scale, style: str) -> list[str]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if _finite(x, y):
            runs[-1].append((x_of(x), y_of(y)))
        elif runs[-1]:
            runs.append([])
    parts = []
    for run in runs:
        if len(run) == 1:
            # A lone point has no line to show it.
            fill = style.split('stroke="')[1].rstrip('"')
            parts.append(f'<circle cx="{_n(run[0][0])}" cy="{_n(run[0][1])}" r="3" fill="{fill}"/>')
        elif run:
            parts.append(f'<polyline {style} points="{" ".join(f"{_n(x)},{_n(y)}" for x, y in run)}"/>')
    return parts


def _y_ticks(ys: list[float]) -> list[float]:
    low, high = min(ys), max(ys)
    # Zero belongs on the axis of a quantity that is not far from it.
    if 0 <= low < 0.6 * high:
        low = 0.0
    return ticks(low, high, 6)


class _Scale(NamedTuple):
    """Linear map of [low, low + span] to pixels."""

    low: float
    span: float
    start: float
    length: float

    def __call__(self, value: float) -> float:
        return self.start + self.length * (value - self.low) / self.span


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    if high <= low:  # one point: put it in the middle
        low, high = low - 1, low + 1
    return _Scale(low, high - low, start, end - start)


def _legend(items: list[tuple[str, str]]) -> tuple[str, int]:
    """Legend rows and the y at which the plot may begin."""
    parts, x, row = [], 0.0, 0
    for name, symbol in items:
        width = 24 + GLYPH * len(_clip(name, 40))
        if x and x + width > WIDTH:
            x, row = 0.0, row + 1
        y = 8 + row * LEGEND_ROW
        parts.append(f'<g transform="translate({_n(x)} {y})">{symbol}{_text(16, 3.5, _clip(name, 40), "start")}</g>')
        x += width
    return "".join(parts), (row + 1) * LEGEND_ROW + 8 if items else 8


def _line(style: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{style}" x1="{_n(x1)}" x2="{_n(x2)}" y1="{_n(y1)}" y2="{_n(y2)}"/>'


def _swatch(colour: int) -> str:
    return f'<line class="line" stroke="{_colour(colour)}" x1="0" x2="12" y1="0" y2="0"/>'


def _dot(x: float, y: float, dot: Dot) -> str:
    colour, at = _colour(dot.colour), f'cx="{_n(x)}" cy="{_n(y)}"'
    if dot.shape == "cross":
        return f'<path class="line" stroke="{colour}" d="M{_n(x - 3.5)} {_n(y - 3.5)}l7 7m0 -7l-7 7"/>'
    if dot.shape == "ring":
        return f'<circle class="ring" {at} r="4" stroke="{colour}"/>'
    return f'<circle {at} r="4.5" fill="{colour}"/>'


def _svg(title: str, height: float, body: str) -> str:
    name = html.escape(title)
    return f'<svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-label="{name}"><title>{name}</title>{body}</svg>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "tick") -> str:
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _colour(index: int) -> str:
    return f"var(--c{index % COLOURS})"


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _finite(x: float, y: float) -> bool:
    return math.isfinite(x) and math.isfinite(y)


def _n(value: float) -> str:
    """One decimal at most: coordinates are pixels."""
    return f"{value:.1f}".removesuffix(".0")
