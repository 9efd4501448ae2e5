"""`python -m tasks.ingest`: read `ingest.sources`, write data/ingest and reports/ingest/metrics.json."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa

from tasks import params, paths
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import run_stage
from tasks.core.io.seeds import derive_seed
from tasks.core.io.tables import write_arrow, write_table
from tasks.core.schemas.records import MANIFEST_SCHEMA, OVERLAP_SCHEMA, QUARANTINE_SCHEMA, RECORD_SCHEMA
from tasks.ingest.facts import KnownMedia
from tasks.ingest.held_out import SPLIT as HELD_OUT
from tasks.ingest.held_out import read_held_out
from tasks.ingest.ingest import SPLITS, Files, check_names, read_source, render_world, summarise, undecodable
from tasks.ingest.manifest import Checker, MediaRow, Medium, check_media, manifest_table
from tasks.ingest.memory import collecting_rarely
from tasks.ingest.mix import mix_media
from tasks.ingest.overlap_report import Overlap, Policy, overlaps, sentence, summary
from tasks.ingest.parse import Quarantined
from tasks.ingest.parts import Part, part_of
from tasks.ingest.pool import Refusal, joined, media_of, numbered, repeated_ids, without

TABLES = {"train": paths.TRAIN_RECORDS, "rl": paths.RL_RECORDS, "test": paths.TEST_RECORDS}
MIXED = ("train", "rl")
DESCRIBED = {"name", "format", "split", "annotations", "licence", "homepage"}
"""What reports/ingest/metrics.json tells of a source."""


@collecting_rarely()
def main() -> None:
    """Run the stage."""
    loaded = params.load()
    section = loaded.ingest
    sources = params.sources_of(loaded.start, section)
    check_names([source.name for source in sources])
    shutil.rmtree(paths.MEDIA, ignore_errors=True)
    tables, quarantined = _collect(sources, section.workers)
    read = Counter(row.source for row in quarantined) + Counter(
        source for table in tables.values() for source in table.column("source").to_pylist()
    )
    media = _check(chain(*map(media_of, tables.values())), section.workers, section.read_limit_seconds)
    names = {split: [source.name for source in sources if source.split == split] for split in tables}

    def leave_out(split: str, refusals: Sequence[Refusal]) -> None:
        tables[split], lost = without(tables[split], split, refusals)
        quarantined.extend(lost)

    for split in SPLITS:
        leave_out(split, undecodable(tables[split], media))
        leave_out(split, repeated_ids(tables[split]))
    policy = Policy(**section.overlap.model_dump())
    repeated, refusals = overlaps(tables, media, names, policy)
    overlap = summary(repeated, {split: len(table) for split, table in tables.items()}, policy)
    for split, of_split in refusals.items():
        leave_out(split, of_split)
    held = tables.pop(HELD_OUT)
    asked = {split: _mixed(table, split, section.video_share, loaded.seed) for split, table in tables.items()}
    left_out = {} if section.video_share is None else {split: len(tables[split]) - len(asked[split]) for split in MIXED}
    written = {split: numbered(table, names[split]) for split, table in asked.items()}
    order = {source.name: place for place, source in enumerate(sources)}
    quarantined.sort(key=lambda row: (order[row.source], row.row))
    only_held = set(media_of(held)) - set(chain(*map(media_of, asked.values())))
    kept = [row for medium, row in media.items() if medium not in only_held]
    described = [source.model_dump(include=DESCRIBED) | {"read": read[source.name]} for source in sources]
    _write(written, kept, quarantined, repeated, summarise(written, kept, quarantined, overlap, described, left_out))


def _mixed(table: pa.Table, split: str, video_share: float | None, seed: int) -> pa.Table:
    share = video_share if split in MIXED else None
    chosen = mix_media(table.column("data_type").to_pylist(), share, derive_seed(seed, "ingest", "mix", split))
    return table if chosen is None else table.take(pa.array(chosen, type=pa.int64()))


def _check(files: Iterable[Medium], workers: int, limit_seconds: float) -> dict[Medium, MediaRow]:
    known = KnownMedia()
    checker = Checker(known, limit_seconds)
    try:
        media = check_media((medium for medium in files if medium.path), workers, checker)
    finally:
        known.close()
    hashed, probed = checker.work.hashed, checker.work.probed
    print(f"ingest: {len(media)} media files; {hashed} hashed, {probed} probed, the others known")
    return media


def _collect(sources: Iterable[params.Source], workers: int) -> tuple[dict[str, pa.Table], list[Quarantined]]:
    """Records by split, and the rows that could not be read."""
    tables: dict[str, list[pa.Table]] = {split: [] for split in (*SPLITS, HELD_OUT)}
    quarantined: list[Quarantined] = []
    files: Files = {}
    for source in sources:
        for part in _read(source, workers, files):
            tables[source.split].append(part.table)
            quarantined.extend(part.quarantined)
    return {split: joined(parts) for split, parts in tables.items()}, quarantined


def _read(source: params.Source, workers: int, files: Files) -> Iterator[Part]:
    if source.split == HELD_OUT:
        items = read_held_out(
            name=source.name,
            format=source.format,
            annotations=source.annotations,
            media_root=source.media_root,
            rows=source.rows,
            seed=source.seed,
        )
        return iter([part_of(items)])
    if source.format == "world":
        items = render_world(
            name=source.name,
            split=source.split,
            rows=source.rows,
            seed=source.seed,
            shortcut_bias=source.shortcut_bias,
            media_dir=paths.MEDIA,
            workers=workers,
        )
        return iter([part_of(items)])
    return read_source(
        name=source.name,
        format=source.format,
        split=source.split,
        annotations=source.annotations,
        media_root=source.media_root,
        rows=source.rows,
        seed=source.seed,
        workers=workers,
        files=files,
    )


def _write(
    tables: Mapping[str, pa.Table],
    media: Sequence[MediaRow],
    quarantined: Sequence[Quarantined],
    repeated: Sequence[Overlap],
    metrics: Mapping[str, Any],
) -> None:
    paths.MEDIA.mkdir(parents=True, exist_ok=True)
    for split, table in tables.items():
        write_arrow(TABLES[split], table, RECORD_SCHEMA)
    write_arrow(paths.MANIFEST, manifest_table(media), MANIFEST_SCHEMA)
    write_table(paths.QUARANTINE, (row._asdict() for row in quarantined), QUARANTINE_SCHEMA)
    write_table(paths.OVERLAP, (item.values() for item in repeated), OVERLAP_SCHEMA)
    write_json(paths.metrics("ingest"), metrics)
    counts = ", ".join(f"{split} {len(table)}" for split, table in tables.items())
    print(f"ingest: rows {counts}; {len(media)} media files; {len(quarantined)} rows quarantined -> {paths.INGEST}")
    for row in quarantined[:5]:
        print(f"  left out: {row.source} row {row.row}: {row.field}: {row.reason}")
    if unmixed := metrics.get("left_out_for_video_share"):
        counts = ", ".join(f"{rows} of {split}" for split, rows in unmixed.items())
        print(f"ingest: left out for the share of videos: {counts}")
    print(f"ingest: {sentence(metrics['overlap'])} -> {paths.OVERLAP}")


if __name__ == "__main__":
    run_stage(main, params.ParamsError, about=__doc__)
