"""Raw rows to records whose media exist under their root, and the rows that have to stay out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tasks.core.io.rows import RawRow
from tasks.core.rewards import unscorable
from tasks.core.schemas.parsing import RecordError, record_fields
from tasks.core.schemas.records import Record, truth_of
from tasks.ingest.root import MediaRoot

SOURCE_STEP = 10**12
"""Ids of two sources of one table are this far apart."""


class Quarantined(NamedTuple):
    """A row left out; the columns of QUARANTINE_SCHEMA."""

    source: str
    split: str
    row: int
    problem_id: str | None
    kind: str
    field: str
    reason: str


class Candidate(NamedTuple):
    """A record with the place it comes from."""

    source: str
    split: str
    row: int
    record: Record


def parse_rows(
    rows: Iterable[RawRow], *, source: str, split: str, media_root: MediaRoot
) -> Iterator[Candidate | Quarantined]:
    """Check every row; `path` of a candidate opens from the working directory and lies under `media_root`."""
    for raw in rows:
        where = f"{source} row {raw.row}"
        kind, fields = "record", None
        try:
            if raw.fault:
                raise RecordError(where, "record", raw.fault)
            fields = record_fields(raw.value, where)
            if (reason := unscorable(fields["problem_type"], truth_of(fields["solution"]))) is not None:
                raise RecordError(where, "solution", reason)
            kind = "path"
            fields["path"] = media_root.locate(fields["path"], where)
        except RecordError as error:
            own = str(fields["problem_id"]) if fields else _id_of(raw.value)
            yield Quarantined(source, split, raw.row, own, kind, error.field, writable(error.reason))
            continue
        yield Candidate(source, split, raw.row, Record(**fields))


def table_id(own: int, source: str, place: int) -> int:
    """problem_id of a record in its table.

    Args:
        own: problem_id in the source.
        source: its name.
        place: number of the source among the sources of the table, from 0.

    Returns:
        `own` moved by `place` times 10^12, so that the numbers of a source stay when one is added behind it; for an id
        outside 0..10^12 a hash of source and id, above 2^62.
    """
    if 0 <= own < SOURCE_STEP:
        return place * SOURCE_STEP + own
    digest = hashlib.sha256(f"{source}/{own}".encode()).digest()
    return 2**62 + int.from_bytes(digest[:8]) % 2**62


def _id_of(value: Any) -> str | None:
    """The problem_id as found, fit for a table."""
    if not isinstance(value, Mapping) or value.get("problem_id") is None:
        return None
    return writable(str(value["problem_id"]))[:200]


def writable(text: str) -> str:
    """Text with lone surrogates, as in names that are not UTF-8, spelled out: no file can hold them."""
    return text.encode(errors="backslashreplace").decode()
