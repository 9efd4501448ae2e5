"""Records of one table while ingest works on them: columns, not objects, so that memory follows the text alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.schemas.records import RECORD_SCHEMA, Record
from tasks.ingest.manifest import Medium
from tasks.ingest.parse import Quarantined, table_id

POOL_SCHEMA = RECORD_SCHEMA.append(pa.field("row", pa.int64(), nullable=False))
"""A record under its own id and the name of its source, and its position there."""
BATCH_ROWS = 8192


class Refusal(NamedTuple):
    """A row that has to stay out."""

    place: int
    """In its table."""
    kind: str
    field: str
    reason: str


class Parted(NamedTuple):
    """Rows that stay, and those that are left out."""

    table: pa.Table
    quarantined: list[Quarantined]


class Pool:
    """Collects records into a table."""

    def __init__(self) -> None:
        self._names = [field.name for field in dataclasses.fields(Record)]
        self._columns: list[list[Any]] = [[] for _ in POOL_SCHEMA]
        self._batches: list[pa.RecordBatch] = []

    def add(self, record: Record, source: str, row: int) -> None:
        """Take a record in."""
        for column, name in zip(self._columns, self._names, strict=False):
            column.append(getattr(record, name))
        self._columns[-2][-1] = source
        self._columns[-1].append(row)
        if len(self._columns[-1]) == BATCH_ROWS:
            self._flush()

    def table(self) -> pa.Table:
        """All records, in the order they came; the pool is empty then."""
        self._flush()
        batches, self._batches = self._batches, []
        return pa.Table.from_batches(batches, schema=POOL_SCHEMA)

    def _flush(self) -> None:
        arrays = [pa.array(column, type=field.type) for column, field in zip(self._columns, POOL_SCHEMA, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=POOL_SCHEMA))
        for column in self._columns:
            column.clear()


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """One table of several of POOL_SCHEMA, in batches of BATCH_ROWS."""
    table = pa.concat_tables([POOL_SCHEMA.empty_table(), *parts]).combine_chunks()
    return pa.Table.from_batches(table.to_batches(max_chunksize=BATCH_ROWS), schema=POOL_SCHEMA)


def media_of(table: pa.Table) -> Iterator[Medium]:
    """File of every row."""
    for batch in table.select(["path", "data_type"]).to_batches():
        yield from map(Medium, batch.column(0).to_pylist(), batch.column(1).to_pylist())


def without(table: pa.Table, split: str, refusals: Sequence[Refusal]) -> Parted:
    """Leave rows out."""
    if not refusals:
        return Parted(table, [])
    keep = np.ones(len(table), dtype=bool)
    keep[[refusal.place for refusal in refusals]] = False
    sources, rows, ids = (table.column(name) for name in ("source", "row", "problem_id"))
    quarantined = [
        Quarantined(sources[place].as_py(), split, rows[place].as_py(), str(ids[place].as_py()), kind, field, reason)
        for place, kind, field, reason in refusals
    ]
    return Parted(table.filter(pa.array(keep)), quarantined)


def repeated_ids(table: pa.Table) -> list[Refusal]:
    """Every row whose problem_id stands earlier in its source; another source may use the same."""
    keys = pd.DataFrame(
        {
            "source": table.column("source").combine_chunks().dictionary_encode().indices.to_numpy(),
            "id": table.column("problem_id").to_numpy(),
        }
    )
    again = np.flatnonzero(keys.duplicated(keep="first").to_numpy())
    if not len(again):
        return []
    wanted = keys.iloc[again].drop_duplicates()
    earlier = keys.reset_index().merge(wanted, on=["source", "id"]).groupby(["source", "id"])["index"].min()
    sources, rows = table.column("source"), table.column("row")
    reasons = []
    for index in again:
        source, own = keys.iloc[index]
        first = int(earlier[source, own])
        taken = f"{own} is taken by {sources[first].as_py()} row {rows[first].as_py()}"
        reasons.append(Refusal(int(index), "duplicate", "problem_id", taken))
    return reasons


def numbered(table: pa.Table, sources: Sequence[str]) -> pa.Table:
    """Rows of RECORD_SCHEMA under their numbers in the table; `sources` in the order of params.yaml."""
    places = {name: place for place, name in enumerate(sources)}
    columns = zip(table.column("problem_id").to_pylist(), table.column("source").to_pylist(), strict=True)
    ids = pa.array([table_id(own, source, places[source]) for own, source in columns], type=pa.int64())
    record = table.select(RECORD_SCHEMA.names)
    return record.set_column(0, RECORD_SCHEMA.field("problem_id"), ids)


def counts_of(table: pa.Table, types: Sequence[str]) -> dict[str, Any]:
    """Rows by medium and problem type."""
    by_type = Counter(table.column("problem_type").to_pylist())
    video = pc.sum(pc.equal(table.column("data_type"), "video")).as_py() or 0
    return {
        "rows": len(table),
        "video": video,
        "image": len(table) - video,
        "by_type": {name: by_type[name] for name in types},
    }
