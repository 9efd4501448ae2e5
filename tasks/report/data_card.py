"""The data card: where the rows come from, what they hold, and what was done to them, as markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report.data import rejection_table, splits_table
from tasks.report.dataset import (
    Dataset,
    balance_table,
    licence_of,
    media_table,
    overlap_tables,
    reason_table,
    source_table,
)
from tasks.report.tables import Table, as_markdown


def data_card(data: Dataset, *, metrics: Mapping[str, Mapping[str, Any]], lock: Mapping[str, Any], commit: str) -> str:
    """Markdown of the card.

    Args:
        data: tables of ingest.
        metrics: stage -> its metrics.json; those of annotate and filter are told where they ran.
        lock: parsed dvc.lock.
        commit: commit of the code.
    """
    parts = ["# Data card\n", f"Made by the stage `ingest`; {commit}.{_hash(lock)}\n", "## Sources\n"]
    parts.append(as_markdown(source_table(data)))
    homes = [f"- {source['name']}: {_origin(source)}" for source in data.metrics.get("sources", [])]
    parts.append("\n".join(homes) + "\n")
    for name, tables in _sections(data, metrics).items():
        shown = [table for table in tables if table.rows]
        parts.append(f"## {name}\n")
        parts += [f"**{table.title}**\n\n{as_markdown(table)}" for table in shown] or ["None.\n"]
    parts += ["## How it was made\n", "\n".join(f"- {step}" for step in _steps(data.metrics, metrics)) + "\n"]
    return "\n".join(parts)


def _sections(data: Dataset, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Table]]:
    return {
        "Rows": [splits_table(data.metrics), balance_table(data.records)],
        "Media": [media_table(data.manifest)],
        "Left out": [reason_table(data.quarantine), rejection_table(metrics.get("filter", {}))],
        "Asked twice, leaked": overlap_tables(data.metrics.get("overlap", {}))[:1],
    }


def _origin(source: Mapping[str, Any]) -> str:
    licence = f"licence: {licence_of(source)}" if licence_of(source) else "no licence given (`licence` of the source)"
    where = source["annotations"] or "rendered by this project"
    return f"{where}; {licence}" + (f"; {source['homepage']}" if source["homepage"] else "")


def _steps(ingest: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was done, in order, with counts."""
    media, lost = ingest.get("media", {}), ingest.get("quarantined", {})
    kinds = ", ".join(f"{rows} {kind}" for kind, rows in lost.get("by_kind", {}).items()) or "none"
    steps = [
        "Every row was held against the record format, its truth against its own scorer, its path against the root.",
        f"Every file was read: {media.get('files')} files, of which {media.get('undecodable')} do not decode.",
        f"Rows left out: {lost.get('rows')} ({kinds}); data/ingest/quarantine.parquet has each with its reason.",
    ]
    if unmixed := ingest.get("left_out_for_video_share"):
        counts = ", ".join(f"{rows} of {split}" for split, rows in unmixed.items())
        steps.append(f"Rows left out, drawn by the seed, for the share of videos that `video_share` asks: {counts}.")
    if overlap := ingest.get("overlap"):
        held = ", ".join(f"{rows} {split}" for split, rows in overlap["held_against"].items())
        actions = ", ".join(f"{name}: {overlap[name]['action']}" for name in ("repeats", "leaks", "leaked_texts"))
        steps.append(f"Questions were compared within their table and with held-out rows ({held}); {actions}.")
    annotate = metrics.get("annotate", {})
    if source := annotate.get("taken_from"):
        steps.append(f"No teacher was asked: {annotate.get('rows')} rows of reasoning come with {source}.")
    elif annotate:
        steps.append(f"The teacher was asked: reports/annotate/metrics.json counts {annotate.get('rows')} rows.")
    if kept := metrics.get("filter"):
        steps.append(f"Rules kept {kept.get('kept')} of {kept.get('rows')} annotated rows for SFT.")
    return steps


def _hash(lock: Mapping[str, Any]) -> str:
    for out in lock.get("stages", {}).get("ingest", {}).get("outs", []):
        if out["path"] == "data/ingest":
            return f" `data/ingest` has the md5 {out['md5']} in dvc.lock."
    return ""
