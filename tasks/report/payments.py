"""Whom RL paid, from the ledger that the stage grpo leaves: shares of every term, and the alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.tables import NONE, Cell, Table, number, percent


def payment_tables(ledger: Mapping[str, Any]) -> list[Table]:
    """Terms and alarms; nothing without a ledger."""
    return [_terms(ledger), _alarms(ledger)] if ledger else []


def _terms(ledger: Mapping[str, Any]) -> Table:
    rows = [[Cell(term.replace("_", " ")), Cell(percent(share))] for term, share in ledger["pay"].items()]
    caption = f"Of {ledger['completions']} completions: how far each term moves rewards from their group's mean."
    return Table("What told completions of a prompt apart", ["term", "share"], rows, caption=caption)


def _alarms(ledger: Mapping[str, Any]) -> Table:
    rows = [
        [
            Cell(alarm["name"]),
            Cell("ALARM" if alarm["fires"] else "quiet" if alarm["value"] is not None else "nothing to measure"),
            Cell(NONE if alarm["value"] is None else number(alarm["value"]), f"from {number(alarm['fires_from'])}"),
            Cell(alarm["what"], alarm["example"] if alarm["fires"] else ""),
        ]
        for alarm in ledger["alarms"]
    ]
    head = ["alarm", "state", "measured", "what is measured, and an example where it fires"]
    return Table("Alarms", head, rows, left=4)
