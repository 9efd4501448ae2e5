"""Benchmark tables: pure functions from numbers to text cells, for the page, the markdown file and the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.report.controls import Control, Loss
from tasks.report.summary import NOTHING, Estimate, Summary, View

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
    """A share of 1 as a percentage with one decimal."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, signed; a true minus sign."""
    if not math.isfinite(difference):
        return NONE
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def interval(estimate: Estimate) -> str:
    """95 % interval in percent, without the sign."""
    if estimate.low is None or estimate.high is None:
        return NONE
    return f"{100 * estimate.low:.1f}–{100 * estimate.high:.1f}"


def main_table(summaries: list[Summary], models: Iterable[str]) -> Table:
    """Overall, temporal and static accuracy of every model on ordered frames.

    Args:
        summaries: Models that were run.
        models: Every model that was to be run, in the order wanted; one without a summary gets a row that says so.
    """
    head = ["model", "n", "overall", "95% interval", "temporal", "static", "well formed", "tokens", "errors"]
    found = {s.model: s for s in summaries}
    rows = []
    for model in _order(found, models):
        view = _view(found.get(model), "ordered")
        if view is None:
            rows.append([Cell(model), Cell("not run"), *[Cell(NONE)] * (len(head) - 2)])
            continue
        rows.append(
            [
                Cell(model),
                Cell(str(view.overall.n)),
                Cell(percent(view.overall.accuracy)),
                Cell(interval(view.overall)),
                Cell(percent(view.temporal.accuracy)),
                Cell(percent(view.static.accuracy)),
                Cell(percent(view.well_formed)),
                Cell(_decimal(view.tokens)),
                Cell(str(view.errors)),
            ]
        )
    return Table("Accuracy on ordered frames", head, _mark_best(rows, (2, 4, 5)))


def group_table(
    title: str,
    label: str,
    summaries: list[Summary],
    models: Iterable[str],
    groups: Callable[[View], dict[str, Estimate]],
) -> Table:
    """Accuracy per group (problem type, skill): one row per group, one column per model that was run."""
    found = {s.model: view for s in summaries if (view := s.views.get("ordered"))}
    order = [model for model in _order(found, models) if model in found]
    sizes: dict[str, int] = {}
    for model in order:
        for name, estimate in groups(found[model]).items():
            sizes[name] = max(sizes.get(name, 0), estimate.n)
    rows = []
    for name in sorted(sizes):
        estimates = [groups(found[model]).get(name, NOTHING) for model in order]
        rows.append([Cell(name), Cell(str(sizes[name])), *[Cell(percent(e.accuracy), _note(e)) for e in estimates]])
    return Table(title, [label, "n", *order], [_best_of_row(row, 2) for row in rows])


def controls_table(controls: Sequence[Control]) -> Table:
    """Accuracy on every view, and what each control costs in points with its 95 % interval."""
    head = ["model", "questions", "n", "ordered", "shuffled", "no video", "lost to shuffling", "lost without video"]
    rows = [
        [
            Cell(c.model),
            Cell(c.group),
            Cell(str(c.n)),
            *[Cell(percent(c.accuracy.get(view))) for view in VIEW_NAMES],
            *[_loss(c.loss.get(view)) for view in ("shuffled", "no_video")],
        ]
        for c in controls
    ]
    return Table("Video questions, the same on every view", head, rows, left=2)


def _loss(loss: Loss | None) -> Cell:
    if loss is None:
        return Cell(NONE)
    return Cell(
        points(loss.value),
        f"{points(loss.low)} to {points(loss.high)}" if loss.low is not None and loss.high is not None else "",
    )


def estimate_of(summary: Summary, group: str) -> Estimate:
    """Numbers of "overall", "temporal" or "static" on ordered frames; empty when they were not run."""
    found = _view(summary, "ordered")
    return (
        NOTHING
        if found is None
        else {"overall": found.overall, "temporal": found.temporal, "static": found.static}[group]
    )


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


def _order(found: Mapping[str, object], models: Iterable[str]) -> list[str]:
    named = list(models)
    return named + sorted(set(found) - set(named))


def _view(summary: Summary | None, view: str) -> View | None:
    return None if summary is None else summary.views.get(view)


def _note(estimate: Estimate) -> str:
    return interval(estimate) if estimate.low is not None else ""


def _decimal(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else NONE


def _mark_best(rows: list[list[Cell]], columns: tuple[int, ...]) -> list[list[Cell]]:
    """Mark each column's highest percentage, where there is something to compare."""
    for column in columns:
        values = [_value(row[column]) for row in rows]
        top = max(values, default=math.nan)
        if sum(math.isfinite(v) for v in values) > 1:
            rows = [
                [c._replace(best=True) if i == column and v == top else c for i, c in enumerate(row)]
                for row, v in zip(rows, values, strict=True)
            ]
    return rows


def _best_of_row(row: list[Cell], start: int) -> list[Cell]:
    values = [_value(cell) for cell in row[start:]]
    top = max(values, default=math.nan)
    if sum(math.isfinite(v) for v in values) < 2:
        return row
    return row[:start] + [c._replace(best=v == top) for c, v in zip(row[start:], values, strict=True)]


def _value(cell: Cell) -> float:
    # Compared as printed: models that show the same figure are marked alike.
    return -math.inf if cell.text == NONE else float(cell.text.rstrip("%"))
