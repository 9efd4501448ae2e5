"""The stage as functions: sources of one split to its table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.core.io.rows import RawRow
from tasks.core.schemas.records import PROBLEM_TYPES
from tasks.core.world import make_split
from tasks.ingest.manifest import OK, MediaRow, Medium
from tasks.ingest.parse import Candidate, Quarantined, parse_rows
from tasks.ingest.parts import Part, checked_parts
from tasks.ingest.pool import Refusal, counts_of, media_of
from tasks.ingest.root import MediaRoot
from tasks.ingest.sources import FORMATS, Counted, SourceError, draw_rows

SPLITS = ("train", "rl", "test")
Files = dict[tuple[str, str, str], Counted]
"""(format, annotations, media root) -> rows of a file; several sources may be of one."""
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
) -> Iterator[Candidate | Quarantined]:
    """Render a world source under `media_dir`/`name` and parse what it made, as any other source.

    Raises:
        SourceError: `rows` is not given.
    """
    if rows is None:
        raise SourceError(f"ingest.sources: '{name}': a world source needs `rows`")
    root = media_dir / name
    raw = make_split(root, rows, seed, shortcut_bias=shortcut_bias, workers=workers, label=name)
    numbered = [RawRow(i, value) for i, value in enumerate(raw)]
    return parse_rows(numbered, source=name, split=split, media_root=MediaRoot(root, name))


def read_source(
    *,
    name: str,
    format: str,
    split: str,
    annotations: str | None,
    media_root: str | None,
    rows: int | None,
    seed: int,
    workers: int,
    files: Files,
) -> Iterator[Part]:
    """Read a source that lies in files; `workers` processes check its rows.

    `files` keeps what was learned of the files of earlier sources, and gets this one's.

    Raises:
        SourceError: `annotations` or `media_root` is not given, or no such media root.
        RowsError: `annotations` does not exist or is not of its format.
    """
    if annotations is None or media_root is None:
        absent = "annotations" if annotations is None else "media_root"
        raise SourceError(f"ingest.sources: '{name}': a {format} source needs `{absent}`")
    root = Path(media_root)
    checked = MediaRoot(root, name)
    raw = files.setdefault(
        (format, annotations, media_root), Counted(partial(FORMATS[format], Path(annotations), root))
    )
    return checked_parts(draw_rows(raw, rows, seed), source=name, split=split, media_root=checked, workers=workers)


def undecodable(table: pa.Table, media: Mapping[Medium, MediaRow]) -> list[Refusal]:
    """Every row whose medium does not decode."""
    statuses = ((place, media[medium].status) for place, medium in enumerate(media_of(table)))
    return [Refusal(place, "media", "path", status) for place, status in statuses if status != OK]


def summarise(
    tables: Mapping[str, pa.Table],
    media: Iterable[MediaRow],
    quarantined: Sequence[Quarantined],
    overlap: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]] = (),
    unmixed: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Counts for reports/ingest/metrics.json; `unmixed`: rows left out for `video_share`, by split, where it is set."""
    statuses = [row.status for row in media]
    by_kind = Counter(row.kind for row in quarantined)
    return {
        **{split: counts_of(table, PROBLEM_TYPES) for split, table in tables.items()},
        "media": {"files": len(statuses), "undecodable": sum(status != OK for status in statuses)},
        "quarantined": {"rows": len(quarantined), "by_kind": dict(sorted(by_kind.items()))},
        **({"left_out_for_video_share": dict(unmixed)} if unmixed else {}),
        "overlap": overlap,
        "sources": list(sources),
    }
