"""Tables about rows: what the splits hold, what the filter and ingest left out, what the gates say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.inputs import Inputs
from tasks.report.tables import Cell, Table, percent

SPLITS = ("train", "rl", "test")


def data_tables(inputs: Inputs) -> list[Table]:
    """Every table of the section that has rows."""
    tables = [
        splits_table(inputs.metrics.get("ingest", {})),
        composition_table(inputs.test),
        rejection_table(inputs.metrics.get("filter", {})),
        verdict_table(inputs.verdicts),
        quarantine_table(inputs.quarantine),
    ]
    return [table for table in tables if table.rows]


def data_missing(inputs: Inputs) -> list[str]:
    """One sentence per input that is not there, or there and empty."""
    sentences = {
        "ingest: not run": not inputs.test,
        "filter: not run": "filter" not in inputs.metrics,
        "validate: not run": not inputs.verdicts,
        "No row is in quarantine.": bool(inputs.test) and not inputs.quarantine,
    }
    return [text for text, absent in sentences.items() if absent]


def splits_table(metrics: Mapping[str, Any]) -> Table:
    """Rows per split, by medium and problem type, from ingest's metrics."""
    splits = [(name, metrics[name]) for name in SPLITS if name in metrics]
    kinds = sorted({kind for _, split in splits for kind in split["by_type"]})
    rows = [
        [
            Cell(name),
            *[Cell(str(split[key])) for key in ("rows", "video", "image")],
            *[Cell(str(split["by_type"].get(kind, 0))) for kind in kinds],
        ]
        for name, split in splits
    ]
    return Table("Splits", ["split", "rows", "video", "image", *kinds], rows)


def composition_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """What the test split holds: problem types by medium, and how many questions only frame order answers."""
    rows = []
    for kind in sorted({str(record["problem_type"]) for record in records}):
        of_kind = [record for record in records if record["problem_type"] == kind]
        media = Counter(record["data_type"] for record in of_kind)
        temporal = Counter(record["temporal"] for record in of_kind)
        counts = [media["video"], media["image"], temporal[True], temporal[False], len(of_kind)]
        rows.append([Cell(kind), *[Cell(str(count)) for count in counts]])
    return Table("Test questions", ["problem type", "video", "image", "temporal", "static", "rows"], rows)


def rejection_table(metrics: Mapping[str, Any]) -> Table:
    """Rows the filter rejected: by the first rule they break, and how many break that rule at all."""
    first, every = metrics.get("rejected", {}), metrics.get("breaking", {})
    whole = metrics.get("rows") or math.nan
    rows = [
        [
            Cell(rule),
            Cell(str(first[rule])),
            Cell(percent(first[rule] / whole)),
            Cell(str(every.get(rule, first[rule]))),
        ]
        for rule in sorted(first, key=lambda rule: (-first[rule], rule))
    ]
    if rows:
        rejected = sum(first.values())
        rows.append([Cell("all"), Cell(str(rejected)), Cell(percent(rejected / whole)), Cell("")])
    caption = f"The filter kept {metrics.get('kept')} of {metrics.get('rows')} annotated rows." if rows else ""
    return Table("Filter rejections by rule", ["rule", "rejected", "share", "rows breaking it"], rows, caption=caption)


def verdict_table(verdicts: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per gate, with the names of the checks that failed."""
    rows = [
        [
            Cell(gate),
            Cell(str(report.get("verdict", ""))),
            Cell(", ".join([*report.get("failed_critical", []), *_warnings(report)]) or "none"),
            Cell(str(report.get("checks", ""))),
        ]
        for gate, report in verdicts.items()
    ]
    return Table("Validation", ["gate", "verdict", "failed checks", "checks"], rows, left=3)


def _warnings(report: Mapping[str, Any]) -> list[str]:
    return [f"warning: {name}" for name in report.get("failed_warning", [])]


def quarantine_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows ingest left out, counted by source, split and kind, each with the first reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["split"], row["kind"]), []).append(f"{row['field']}: {row['reason']}")
    cells = [
        [*map(Cell, key), Cell(reasons[0]), Cell(str(len(reasons)))]
        for key, reasons in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    return Table("Quarantine", ["source", "split", "kind", "first reason", "rows"], cells, left=4)
