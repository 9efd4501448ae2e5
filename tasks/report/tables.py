"""Benchmark tables: pure functions from numbers to text cells, for the page, the markdown file and the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.core.schemas.answers import Control
from tasks.core.stats import Estimate, Paired
from tasks.report.numbers import KINDS, NOTHING, ByModel, kind_of, split_entry

NONE = "–"
"""What a cell shows where there is no number."""
VIEW_NAMES = {"ordered": "ordered", "shuffled": "shuffled", "no_video": "no video"}


class Cell(NamedTuple):
    """One cell: its text, and a second, quieter text (an interval or a count)."""

    text: str
    note: str = ""
    best: bool = False


class Table(NamedTuple):
    """Title, column heads and rows of cells; the first `left` columns hold words, the others numbers."""

    title: str
    head: list[str]
    rows: list[list[Cell]]
    left: int = 1
    caption: str = ""


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, signed; a true minus sign."""
    if not math.isfinite(difference):
        return NONE
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def interval(estimate: Estimate) -> str:
    """95 % interval in percent, without the sign; "" where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{100 * estimate.low:.1f}–{100 * estimate.high:.1f}"


def signed_interval(paired: Paired) -> str:
    """95 % interval of a difference, in points; "" where there is none."""
    return "" if paired.low is None or paired.high is None else f"{points(paired.low)} to {points(paired.high)}"


def estimate_cell(estimate: Estimate) -> Cell:
    """A score with its interval below."""
    return Cell(percent(estimate.value), interval(estimate))


def main_table(numbers: ByModel, models: Iterable[str], cap: int) -> Table:
    """Overall, temporal and static score of every model on ordered frames of the test split.

    Args:
        numbers: of the models that were run.
        models: every model that was to be run, in the order wanted; one without numbers gets a row that says so.
        cap: frame cap.
    """
    head = ["model", "n", "overall", "95% interval", *KINDS, "well formed", "tokens", "errors"]
    rows = []
    for model in _order(numbers, models):
        entry = split_entry(numbers.get(model), cap)
        if entry is None:
            rows.append([Cell(model), Cell("not run"), *[Cell(NONE)] * (len(head) - 2)])
            continue
        rows.append(
            [
                Cell(model),
                Cell(str(entry.overall.n)),
                Cell(percent(entry.overall.value)),
                Cell(interval(entry.overall) or NONE),
                *[Cell(percent(kind_of(entry, kind).value)) for kind in KINDS],
                Cell(percent(entry.well_formed)),
                Cell(decimal(entry.tokens)),
                Cell(str(entry.rows - entry.answered)),
            ]
        )
    columns = mark_best([[row[column] for row in rows] for column in (2, 4, 5)])
    for column, cells in zip((2, 4, 5), columns, strict=True):
        for row, cell in zip(rows, cells, strict=True):
            row[column] = cell
    return Table("Accuracy on ordered frames", head, rows)


def group_table(title: str, label: str, numbers: ByModel, models: Iterable[str], grouping: str, cap: int) -> Table:
    """Score per group (problem type, skill): one row per group, one column per model that was run."""
    entries = {
        model: entry for model in _order(numbers, models) if (entry := split_entry(numbers.get(model), cap)) is not None
    }
    sizes: dict[str, int] = {}
    for entry in entries.values():
        for name, estimate in entry.groups.get(grouping, {}).items():
            sizes[name] = max(sizes.get(name, 0), estimate.n)
    names = sorted(sizes)
    cells = mark_best(
        [
            [estimate_cell(entry.groups.get(grouping, {}).get(name, NOTHING)) for entry in entries.values()]
            for name in names
        ]
    )
    rows = [[Cell(name), Cell(str(sizes[name])), *scores] for name, scores in zip(names, cells, strict=True)]
    return Table(title, [label, "n", *entries], rows)


def controls_table(
    title: str,
    controls: Iterable[tuple[str, Control]],
    names: Callable[[Control], str] | None = None,
    caption: str = "",
) -> Table:
    """Score on every view, and what each control costs in points with its 95 % interval.

    Args:
        title: of the table.
        controls: model and control, in the order of the rows.
        names: name of a control's suite; None where all are of the test split, told apart by their group.
        caption: below the table.
    """
    about = ["questions"] if names is None else ["benchmark", "protocol", "frames"]
    head = ["model", *about, "n", *VIEW_NAMES.values(), "lost to shuffling", "lost without video"]
    rows = [
        [
            Cell(model),
            *map(Cell, [control.group] if names is None else [names(control), control.protocol, str(control.frames)]),
            Cell(str(control.n)),
            *[Cell(percent(control.scores.get(view))) for view in VIEW_NAMES],
            *[_lost(control.lost.get(view)) for view in ("shuffled", "no_video")],
        ]
        for model, control in controls
    ]
    return Table(title, head, rows, 2 if names is None else 3, caption)


def _lost(paired: Paired | None) -> Cell:
    return Cell(NONE) if paired is None else Cell(points(paired.difference), signed_interval(paired))


def mark_best(lists: Iterable[Sequence[Cell]]) -> list[list[Cell]]:
    """Of each list of cells that are compared, the highest percentage marked, where there are two or more.

    Compared as printed: models that show the same figure are marked alike.
    """
    made = []
    for cells in lists:
        values = [float(cell.text.rstrip("%")) if cell.text.endswith("%") else -math.inf for cell in cells]
        if sum(map(math.isfinite, values)) < 2:
            made.append(list(cells))
            continue
        made.append([cell._replace(best=value == max(values)) for cell, value in zip(cells, values, strict=True)])
    return made


def metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Every stage's own numbers, flattened: one row per number."""
    rows = [
        [Cell(stage), Cell(name), Cell(number(value))]
        for stage, values in metrics.items()
        for name, value in flatten(values).items()
    ]
    return Table("Stage metrics", ["stage", "metric", "value"], rows, left=2)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a nested mapping under dotted names; anything else is left out."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat


def number(value: float) -> str:
    """A number of unknown unit: whole numbers whole, others with four significant digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not math.isfinite(value):
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def as_markdown(table: Table) -> str:
    """GitHub table; numbers to the right. Bars and line breaks inside cells are neutralised."""
    rule = [":--" if i < table.left else "--:" for i in range(len(table.head))]
    lines = [_row(table.head), _row(rule), *[_row([_inline(cell) for cell in row]) for row in table.rows]]
    return "\n".join(lines) + ("\n\n" + table.caption if table.caption else "") + "\n"


def as_text(table: Table) -> str:
    """Aligned columns for a terminal."""
    texts = [table.head, *[[cell.text for cell in row] for row in table.rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(table.head))]
    return "\n".join(
        "  ".join(
            text.ljust(w) if i < table.left else text.rjust(w)
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    )


def _inline(cell: Cell) -> str:
    text = _escape(cell.text) + (f" ({_escape(cell.note)})" if cell.note else "")
    return f"**{text}**" if cell.best else text


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _row(texts: list[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _order(numbers: Mapping[str, object], models: Iterable[str]) -> list[str]:
    named = list(models)
    return named + sorted(set(numbers) - set(named))


def decimal(value: float | None) -> str:
    """A number with one decimal."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.1f}"
