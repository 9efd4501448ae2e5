"""Training curves: a CSV of any numeric columns to a set of charts."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import NamedTuple

from tasks.report.svg import Series, line_chart

STEP_COLUMNS = ("step", "steps", "global_step", "epoch")
"""Columns that may be the x axis, first choice first; without any, rows are numbered."""
TWINS = {"ordered": 0, "shuffled": 1, "no_video": 2, "train": 0, "eval": 1, "test": 2, "mean": 0, "min": 1, "max": 2}
"""Words that tell the lines of one chart apart, in the order of their lines: columns equal but for one of these are
drawn together."""
FAMILIES = ("loss", "accuracy")
"""First words of columns that belong on one chart whatever follows: `loss_caption` and `loss_reason`."""
SHARES = ("accuracy", "well_formed", "share", "correct", "fraction", "rate")
NOT_SHARES = ("learning_rate", "reward")
FIRST = ("loss", "accuracy", "reward", "format", "length", "tokens", "kl", "entropy", "grad")
"""Charts come in this order of subject, the others after them by name."""


class Column(NamedTuple):
    """One numeric column: the pairs that were logged (an empty cell was not)."""

    name: str
    xs: list[float]
    ys: list[float]


class Phase(NamedTuple):
    """A stretch of training that begins at `start` on the x axis."""

    start: float
    name: str


class Curve(NamedTuple):
    """A curve file: name of the x axis, numeric columns, and phases where a text column names them."""

    x_label: str
    columns: list[Column]
    phases: list[Phase]


class Chart(NamedTuple):
    """One drawing and the words above it."""

    title: str
    svg: str


def read_curve(text: str) -> Curve:
    """Columns of a CSV text; one with a cell that is neither empty nor a number is not numeric.

    The first column of words is taken for the names of phases: each begins where its name changes.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    names = [name for name in (rows[0] if rows else {}) if name]
    numeric = {name: values for name in names if (values := _numbers([row[name] for row in rows])) is not None}
    step = next((name for name in STEP_COLUMNS if name in numeric), None)
    xs = [float(i) for i in range(len(rows))] if step is None else numeric[step]
    columns = []
    for name, values in numeric.items():
        pairs = [(x, y) for x, y in zip(xs, values, strict=True) if y is not None and x is not None]
        if name not in STEP_COLUMNS and pairs:
            columns.append(Column(name, [x for x, _ in pairs], [y for _, y in pairs]))
    words = next((name for name in names if name not in numeric and any(row[name] for row in rows)), None)
    phases: list[Phase] = []
    for x, row in zip(xs, rows, strict=True):
        if words and x is not None and row[words] and (not phases or phases[-1].name != row[words]):
            phases.append(Phase(x, row[words]))
    return Curve(step or "row", columns, phases)


def charts(stage: str, curve: Curve) -> list[Chart]:
    """One chart per subject; twins (ordered and shuffled, train and eval) and families share one."""
    groups: dict[str, list[tuple[str, Column]]] = {}
    for column in curve.columns:
        subject, line = subject_of(column.name)
        groups.setdefault(subject, []).append((line, column))
    made = []
    for subject in sorted(groups, key=_rank):
        lines = sorted(groups[subject], key=lambda item: TWINS.get(item[0], len(TWINS)) if item[0] else -1)
        title = subject if len(lines) > 1 else lines[0][1].name
        # The plain column beside a shuffled one is the ordered one.
        plain = "ordered" if any(line == "shuffled" for line, _ in lines) else "all"
        series = [Series(readable(line) or plain, column.xs, column.ys, i) for i, (line, column) in enumerate(lines)]
        svg = line_chart(
            f"{stage}: {readable(title)}",
            series,
            x_label=readable(curve.x_label),
            percent=is_share(title, [y for _, column in lines for y in column.ys]),
            starts=[phase.start for phase in curve.phases[1:]],
        )
        made.append(Chart(readable(title), svg))
    return made


def split_constant(curve: Curve) -> tuple[dict[str, float], Curve]:
    """Columns that never change, by name, and the curve without them; a single point is no constant."""
    flat = {c.name: c.ys[0] for c in curve.columns if len(c.ys) > 1 and len(set(c.ys)) == 1}
    return flat, curve._replace(columns=[column for column in curve.columns if column.name not in flat])


def subject_of(name: str) -> tuple[str, str]:
    """What a column is about, and which line of that chart it is.

    "accuracy_shuffled" -> ("accuracy", "shuffled"); "loss_caption" -> ("loss", "caption"); "kl" -> ("kl", "")
    """
    for twin in TWINS:
        shorter = re.sub(rf"(^|[/_.]){twin}(?=$|[/_.])", "", name, count=1).strip("/_.")
        if shorter and shorter != name:
            return shorter, twin
    first, _, rest = name.partition("_")
    return (first, rest) if first in FAMILIES and rest else (name, "")


def is_share(name: str, values: list[float]) -> bool:
    """Whether a column is read as a percentage: named like a share, and within [0, 1]."""
    named = any(word in name for word in SHARES) and not any(word in name for word in NOT_SHARES)
    return named and all(0 <= v <= 1 for v in values if math.isfinite(v))


def readable(name: str) -> str:
    """Column name as words: separators become spaces."""
    return re.sub(r"[/_.]+", " ", name).strip()


def _rank(subject: str) -> tuple[int, str]:
    return next((i for i, word in enumerate(FIRST) if word in subject), len(FIRST)), subject


def _numbers(cells: list[str | None]) -> list[float | None] | None:
    """Cells as numbers, empty ones as None; None for a column that is not numeric or is empty throughout."""
    numbers: list[float | None] = []
    for cell in cells:
        if cell is None or not cell.strip():
            numbers.append(None)
            continue
        try:
            numbers.append(float(cell))
        except ValueError:
            return None
    return numbers if any(n is not None for n in numbers) else None
