"""What questions need of their clips, from the audits of `python -m tasks.audit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.pictures import Pictures
from tasks.report.tables import NONE, Cell, Table, percent

Audits = Mapping[str, Mapping[str, Any]]
"""Name of an audit -> its numbers."""
SHARES = {
    "accuracy": "Right, by what is shown",
    "evidence": "What a question needs",
    "difficulty": "How hard it is",
}
"""Part of an audit's numbers -> title of its table."""


def audit_tables(audits: Audits) -> list[Table]:
    """Shares with their intervals, a row an audit, and how well tags agree with a truth that is known."""
    if not audits:
        return []
    return [*(_shares(audits, part, title) for part, title in SHARES.items()), *_agreement(audits)]


def audit_examples(audits: Audits, pictures: Mapping[str, Pictures]) -> list[dict[str, Any]]:
    """Questions as the template shows them: one of every tag that an audit gave.

    Args:
        audits: their numbers.
        pictures: path of a clip -> its strip.
    """
    return [
        {
            "about": f"{name}; question {example['problem_id']}; {example['evidence'].replace('_', ' ')}",
            "problem": example["problem"],
            "frames": pictures[example["path"]].frames,
            "missing": pictures[example["path"]].missing,
            "right": ", ".join(
                f"{view.replace('_', ' ')} {percent(share)}" for view, share in example["right"].items()
            ),
        }
        for name, numbers in audits.items()
        for example in numbers.get("examples", [])
    ]


def _shares(audits: Audits, part: str, title: str) -> Table:
    columns = list(dict.fromkeys(key for numbers in audits.values() for key in numbers[part]))
    rows = [
        [Cell(name), Cell(str(numbers["questions"])), *(_share(numbers[part].get(key)) for key in columns)]
        for name, numbers in audits.items()
    ]
    return Table(title, ["audit", "questions", *(column.replace("_", " ") for column in columns)], rows)


def _share(tag_scores: Mapping[str, Any] | None) -> Cell:
    if tag_scores is None or tag_scores["value"] is None:
        return Cell(NONE)
    bounds = "" if tag_scores["low"] is None else f"{100 * tag_scores['low']:.1f}–{100 * tag_scores['high']:.1f}"
    return Cell(percent(tag_scores["value"]), bounds)


def _agreement(audits: Audits) -> list[Table]:
    rows = [
        [
            Cell(name),
            *(Cell(percent(tag_scores[key])) for key in ("precision", "recall")),
            Cell(str(tag_scores["true"])),
        ]
        for name, numbers in audits.items()
        if (tag_scores := numbers["order_tag"]) is not None
    ]
    head = ["audit", "precision", "recall", "questions of order"]
    return [Table("The tag `order` against the known truth", head, rows)] if rows else []
