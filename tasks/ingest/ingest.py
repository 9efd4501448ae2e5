"""The stage as functions: sources of one split to its table."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.core.io.rows import RawRow, read_rows
from tasks.core.schemas.records import PROBLEM_TYPES, Record
from tasks.core.world import make_split
from tasks.ingest.manifest import OK, MediaRow, Medium
from tasks.ingest.parse import Candidate, Parsed, Quarantined, parse_rows, table_id
from tasks.ingest.sources import SourceError, draw_rows

SPLITS = ("train", "rl", "test")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Sorted(NamedTuple):
    """Candidates whose medium decodes, and the others."""

    candidates: list[Candidate]
    quarantined: list[Quarantined]


def check_names(names: Sequence[str]) -> None:
    """Refuse source names that cannot name a folder, or that appear twice.

    Raises:
        SourceError: names the first offender.
    """
    for name in names:
        if not _SLUG.fullmatch(name):
            raise SourceError(f"ingest.sources: name {name!r}: only letters, digits, '.', '_' and '-'")
        if names.count(name) > 1:
            raise SourceError(f"ingest.sources: name {name!r} appears {names.count(name)} times")


def render_world(
    *, name: str, split: str, rows: int | None, seed: int, shortcut_bias: float, media_dir: Path, workers: int
) -> Parsed:
    """Render a world source under `media_dir`/`name` and parse what it made, as any other source.

    Raises:
        SourceError: `rows` is not given.
    """
    if rows is None:
        raise SourceError(f"ingest.sources: '{name}': a world source needs `rows`")
    root = media_dir / name
    raw = make_split(root, rows, seed, shortcut_bias=shortcut_bias, workers=workers, label=name)
    numbered = [RawRow(i, value) for i, value in enumerate(raw)]
    return parse_rows(numbered, source=name, split=split, media_root=root)


def read_video_r1(
    *, name: str, split: str, annotations: str | None, media_root: str | None, rows: int | None, seed: int
) -> Parsed:
    """Read a source in Video-R1's format.

    Raises:
        SourceError: `annotations` or `media_root` is not given, or no such media root.
        RowsError: `annotations` does not exist or is not of its format.
    """
    if annotations is None or media_root is None:
        absent = "annotations" if annotations is None else "media_root"
        raise SourceError(f"ingest.sources: '{name}': a video_r1 source needs `{absent}`")
    drawn = draw_rows(list(read_rows(Path(annotations))), rows, seed)
    return parse_rows(drawn, source=name, split=split, media_root=Path(media_root))


def drop_undecodable(candidates: Iterable[Candidate], media: Mapping[Medium, MediaRow]) -> Sorted:
    """Part the candidates by the status of their medium."""
    parted = Sorted([], [])
    for candidate in candidates:
        status = media[medium_of(candidate.record)].status
        if status == OK:
            parted.candidates.append(candidate)
        else:
            parted.quarantined.append(candidate.refuse("media", "path", status))
    return parted


def number_records(candidates: Iterable[Candidate], sources: Sequence[str]) -> list[Record]:
    """Records of a table under their numbers and the names of their sources; `sources` in the order of params.yaml."""
    places = {name: place for place, name in enumerate(sources)}
    return [
        dataclasses.replace(
            candidate.record,
            problem_id=table_id(candidate.record.problem_id, candidate.source, places[candidate.source]),
            source=candidate.source,
        )
        for candidate in candidates
    ]


def medium_of(record: Record) -> Medium:
    """File of a record."""
    return Medium(record.path, record.data_type)


def summarise(
    tables: Mapping[str, Sequence[Record]], media: Iterable[MediaRow], quarantined: Sequence[Quarantined]
) -> dict[str, Any]:
    """Counts for reports/ingest/metrics.json."""
    splits = {}
    for split, records in tables.items():
        types = Counter(record.problem_type for record in records)
        video = sum(record.data_type == "video" for record in records)
        splits[split] = {
            "rows": len(records),
            "video": video,
            "image": len(records) - video,
            "by_type": {name: types[name] for name in PROBLEM_TYPES},
        }
    statuses = [row.status for row in media]
    by_kind = Counter(row.kind for row in quarantined)
    return {
        **splits,
        "media": {"files": len(statuses), "undecodable": sum(status != OK for status in statuses)},
        "quarantined": {"rows": len(quarantined), "by_kind": dict(sorted(by_kind.items()))},
    }
