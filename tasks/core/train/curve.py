"""The trainer's log as a table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence


def curve_csv(log: Iterable[Mapping[str, object]], columns: Mapping[str, str]) -> str:
    """CSV text, one line per logged step, steps without `loss` (the closing summary) left out.

    Args:
        log: the trainer's `state.log_history`.
        columns: log key -> column name, in column order; a key that a step lacks, or holds NaN, leaves its cell empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns.values())
    for entry in log:
        if "loss" in entry:
            writer.writerow([_cell(entry.get(key)) for key in columns])
    return text.getvalue()


def mean_of_last(log: Iterable[Mapping[str, object]], key: str, count: int = 10) -> float | None:
    """Mean of the last `count` logged values of `key`; None when it was never logged."""
    values = [value for entry in log if isinstance(value := entry.get(key), int | float) and math.isfinite(value)]
    return mean(values[-count:])


def mean(values: Sequence[float]) -> float | None:
    """Mean; None of nothing."""
    return sum(values) / len(values) if values else None


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
