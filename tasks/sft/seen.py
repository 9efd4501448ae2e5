"""Which step of the training drew which row: the order of each epoch, kept in the work folder, as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.core.io.atomic import write_text

SEEN_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("epoch", pa.int64(), nullable=False),
        pa.field("problem_id", pa.int64(), nullable=False),
    ]
)
"""One row per drawing, in order; epochs count from 0, steps from 1. Rows whose clip does not decode are drawn too."""
_PREFIX = "order-"


def keep_order(work: Path, epoch: int, order: Sequence[int]) -> None:
    """Keep the rows of an epoch in their order; a resumed epoch has the same."""
    write_text(work / f"{_PREFIX}{epoch}.json", json.dumps(list(order)))


def kept_orders(work: Path) -> dict[int, list[int]]:
    """Epoch -> rows in their order."""
    paths = work.glob(f"{_PREFIX}*.json")
    return dict(sorted((int(path.stem.removeprefix(_PREFIX)), json.loads(path.read_text())) for path in paths))


def drawings(
    orders: Mapping[int, Sequence[int]], rows_per_step: int, steps: int, problem_ids: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Rows of the table (`SEEN_SCHEMA`).

    Args:
        orders: epoch -> row numbers in the order drawn.
        rows_per_step: of all processes and accumulated batches; the last step of an epoch has what is left.
        steps: done in all; a run may end within an epoch.
        problem_ids: of the rows.
    """
    before = 0
    for epoch, order in sorted(orders.items()):
        for place, row in enumerate(order):
            step = before + place // rows_per_step + 1
            if step > steps:
                return
            yield {"step": step, "epoch": epoch, "problem_id": problem_ids[row]}
        before += -(-len(order) // rows_per_step)
