"""Which RL rows are trained on: all, or those that an audit did not tag as of no use (`grpo.rows`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tasks.core.io.digests import file_digest
from tasks.core.io.errors import StageError
from tasks.core.io.tables import read_table

TAGS = pa.schema([("problem_id", pa.int64()), *((name, pa.string()) for name in ("problem", "evidence", "difficulty"))])
"""Columns that are read of a table of tags."""


class Chosen(NamedTuple):
    """Rows to train on, and how many there were of each kind."""

    rows: list[dict[str, Any]]
    counts: dict[str, Any]
    """`rows`, `kept`, `not_audited` (kept too), and `dropped` by tag."""


def choose(rows: Sequence[dict[str, Any]], tags: Path, digest: str, drop: Sequence[str]) -> Chosen:
    """Rows without those that have one of the tags.

    Args:
        rows: of data/ingest/rl.parquet.
        tags: table of `python -m tasks.audit` on them.
        digest: first digits of its SHA-256, so that a table which was changed unseen is not taken for another.
        drop: tags of evidence and of difficulty; a row counts under the first of its own that is among them.

    Raises:
        StageError: no such table, another one, one of other rows, or nothing is left.
    """
    if not tags.exists():
        raise StageError(f"grpo.rows.tags: {tags}: no such file; `python -m tasks.audit MODEL RECORDS` makes it")
    actual = file_digest(tags)
    if not digest or not actual.startswith(digest):
        raise StageError(
            f"grpo.rows.digest: {digest!r}, but {tags} has {actual[:12]!r}; write that, and the stage reruns"
        )
    by_id = {row["problem_id"]: row for row in read_table(tags, TAGS)}
    kept, dropped, unknown = [], Counter[str](), 0
    for row in rows:
        tagged = by_id.get(row["problem_id"])
        if tagged is None:
            unknown += 1
        elif tagged["problem"] != row["problem"]:
            raise StageError(
                f"{tags}: problem_id {row['problem_id']} asks {tagged['problem']!r}, the RL row {row['problem']!r}: "
                "it is of other rows"
            )
        own = (tagged["evidence"], tagged["difficulty"]) if tagged else ()
        if reasons := [tag for tag in own if tag in drop]:
            dropped[reasons[0]] += 1
        else:
            kept.append(row)
    if unknown == len(rows):
        raise StageError(f"{tags}: none of the {len(rows)} RL rows is in it")
    if not kept:
        raise StageError(f"grpo.rows.drop: {', '.join(drop)} leave none of the {len(rows)} RL rows")
    return Chosen(kept, {"rows": len(rows), "kept": len(kept), "not_audited": unknown, "dropped": dict(dropped)})
