"""Where results come from: the hashes dvc.lock records per stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.core.io.digests import value_digest
from tasks.report.tables import Cell, Table

OWN_STAGE = "report"
"""Left out: its entry describes the previous report, so the page would differ from run to run."""
HASH_CHARS = 10


def lineage_table(lock: Mapping[str, Any]) -> Table:
    """One row per stage output of a parsed dvc.lock; `inputs` is one hash over the stage's command, deps and params."""
    rows = []
    for stage, entry in sorted(lock.get("stages", {}).items()):
        if stage == OWN_STAGE:
            continue
        inputs = short_digest({key: entry.get(key) for key in ("cmd", "deps", "params")})
        for number, out in enumerate(entry.get("outs", [])):
            hashed = str(out.get("md5") or out.get("hash") or "")
            rows.append(
                [
                    Cell(stage if number == 0 else ""),
                    Cell(inputs if number == 0 else ""),
                    Cell(str(out["path"])),
                    Cell(hashed.removesuffix(".dir")[:HASH_CHARS]),
                    Cell(size(int(out.get("size", 0)))),
                ]
            )
    return Table("Stages and their outputs", ["stage", "inputs", "output", "md5", "size"], rows, left=4)


def short_digest(value: Any) -> str:
    """First characters of a JSON-like value's digest."""
    return value_digest(value)[:HASH_CHARS]


def size(count: int) -> str:
    """Bytes in decimal units."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
