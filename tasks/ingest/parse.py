"""Raw rows to records whose media exist under their root, and the rows that have to stay out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tasks.core.io.rows import RawRow
from tasks.core.rewards import unscorable
from tasks.core.schemas.records import Record, RecordError, parse_record, truth_of
from tasks.ingest.sources import SourceError

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

    def refuse(self, kind: str, field: str, reason: str) -> Quarantined:
        """Leave this record out."""
        return Quarantined(self.source, self.split, self.row, str(self.record.problem_id), kind, field, reason)


class Parsed(NamedTuple):
    """Outcome of one source."""

    candidates: list[Candidate]
    quarantined: list[Quarantined]


def parse_rows(rows: Iterable[RawRow], *, source: str, split: str, media_root: Path) -> Parsed:
    """Check every row; `path` of a candidate opens from the working directory and lies under `media_root`.

    Raises:
        SourceError: no such media root.
    """
    if not media_root.is_dir():
        raise SourceError(f"{media_root}: no such media root (source '{source}')")
    parsed = Parsed([], [])
    for raw in rows:
        where = f"{source} row {raw.row}"
        try:
            if raw.fault:
                raise RecordError(where, "record", raw.fault)
            record = parse_record(raw.value, where)
            if (reason := unscorable(record.problem_type, truth_of(record.solution))) is not None:
                raise RecordError(where, "solution", reason)
        except RecordError as error:
            refused = Quarantined(source, split, raw.row, _id_of(raw.value), "record", error.field, error.reason)
            parsed.quarantined.append(refused)
            continue
        try:
            path = media_path(record.path, media_root, where)
        except RecordError as error:
            refused = Candidate(source, split, raw.row, record).refuse("path", error.field, error.reason)
            parsed.quarantined.append(refused)
            continue
        parsed.candidates.append(Candidate(source, split, raw.row, dataclasses.replace(record, path=path)))
    return parsed


def media_path(path: str, media_root: Path, where: str) -> str:
    """Path of a record's medium from the working directory.

    Raises:
        RecordError: the path is absolute, leads out of `media_root` (by ".." or by a symbolic link), or names no file.
    """
    relative = PurePosixPath(path)
    if relative.is_absolute():
        raise RecordError(where, "path", f"{path!r} is absolute, not relative to the media root")
    joined = media_root / relative
    try:
        resolved = joined.resolve()
        inside = resolved.is_relative_to(media_root.resolve())
        is_file = inside and resolved.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise RecordError(where, "path", f"{path!r} is not a path: {error}") from error
    if not inside:
        raise RecordError(where, "path", f"{path!r} leads out of the media root")
    if not is_file:
        raise RecordError(where, "path", f"{path!r} is not a file under the media root")
    return str(joined)


def drop_duplicates(candidates: Iterable[Candidate]) -> Parsed:
    """Keep the first record of every problem_id of a source; another source may use the same ids."""
    first: dict[tuple[str, int], Candidate] = {}
    parsed = Parsed([], [])
    for candidate in candidates:
        known = first.setdefault((candidate.source, candidate.record.problem_id), candidate)
        if known is candidate:
            parsed.candidates.append(candidate)
            continue
        reason = f"{candidate.record.problem_id} is taken by {known.source} row {known.row}"
        parsed.quarantined.append(candidate.refuse("duplicate", "problem_id", reason))
    return parsed


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
    return str(value["problem_id"]).encode(errors="backslashreplace").decode()[:200]
