"""`python -m tasks.ingest`: read `ingest.sources`, write data/ingest and reports/ingest/metrics.json."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from tasks import params, paths
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import run_stage
from tasks.core.io.seeds import derive_seed
from tasks.core.io.tables import write_arrow, write_table
from tasks.core.schemas.records import MANIFEST_SCHEMA, QUARANTINE_SCHEMA, RECORD_SCHEMA
from tasks.ingest.facts import KnownMedia
from tasks.ingest.ingest import SPLITS, check_names, read_source, render_world, summarise, undecodable
from tasks.ingest.manifest import Checker, MediaRow, Medium, check_media
from tasks.ingest.mix import mix_media
from tasks.ingest.parse import Candidate, Quarantined
from tasks.ingest.pool import Pool, media_of, numbered, repeated_ids, without

TABLES = {"train": paths.TRAIN_RECORDS, "rl": paths.RL_RECORDS, "test": paths.TEST_RECORDS}
MIXED = ("train", "rl")


def main() -> None:
    """Run the stage."""
    loaded = params.load()
    section = loaded.ingest
    sources = params.sources_of(loaded.start, section)
    check_names([source.name for source in sources])
    shutil.rmtree(paths.MEDIA, ignore_errors=True)
    pooled, quarantined = _collect(sources, section.workers)
    files = (medium for table in pooled.values() for medium in media_of(table))
    media = _check(files, section.workers, section.read_limit_seconds)

    tables: dict[str, pa.Table] = {}
    for split in SPLITS:
        table = pooled.pop(split)
        table, lost = without(table, split, "media", "path", undecodable(table, media))
        quarantined += lost
        table, lost = without(table, split, "duplicate", "problem_id", repeated_ids(table))
        quarantined += lost
        share = section.video_share if split in MIXED else None
        seed = derive_seed(loaded.seed, "ingest", "mix", split)
        chosen = mix_media(table.column("data_type").to_pylist(), share, seed)
        table = table if chosen is None else table.take(pa.array(chosen, type=pa.int64()))
        tables[split] = numbered(table, [source.name for source in sources if source.split == split])
    order = {source.name: place for place, source in enumerate(sources)}
    quarantined.sort(key=lambda row: (order[row.source], row.row))
    _write(tables, list(media.values()), quarantined)


def _check(files: Iterable[Medium], workers: int, limit_seconds: float) -> dict[Medium, MediaRow]:
    known = KnownMedia()
    checker = Checker(known, limit_seconds)
    try:
        media = check_media(files, workers, checker)
    finally:
        known.close()
    hashed, probed = checker.work.hashed, checker.work.probed
    print(f"ingest: {len(media)} media files; {hashed} hashed, {probed} probed, the others known")
    return media


def _collect(sources: Iterable[params.Source], workers: int) -> tuple[dict[str, pa.Table], list[Quarantined]]:
    """Records by split, and the rows that could not be read."""
    pools = {split: Pool() for split in SPLITS}
    quarantined: list[Quarantined] = []
    for source in sources:
        for item in _read(source, workers):
            if isinstance(item, Quarantined):
                quarantined.append(item)
            else:
                pools[source.split].add(item.record, source.name, item.row)
    return {split: pool.table() for split, pool in pools.items()}, quarantined


def _read(source: params.Source, workers: int) -> Iterator[Candidate | Quarantined]:
    if source.format == "world":
        return render_world(
            name=source.name,
            split=source.split,
            rows=source.rows,
            seed=source.seed,
            shortcut_bias=source.shortcut_bias,
            media_dir=paths.MEDIA,
            workers=workers,
        )
    return read_source(
        name=source.name,
        format=source.format,
        split=source.split,
        annotations=source.annotations,
        media_root=source.media_root,
        rows=source.rows,
        seed=source.seed,
    )


def _write(tables: Mapping[str, pa.Table], media: Sequence[MediaRow], quarantined: Sequence[Quarantined]) -> None:
    paths.MEDIA.mkdir(parents=True, exist_ok=True)
    for split, table in tables.items():
        write_arrow(TABLES[split], table, RECORD_SCHEMA)
    write_table(paths.MANIFEST, map(dataclasses.asdict, media), MANIFEST_SCHEMA)
    write_table(paths.QUARANTINE, (row._asdict() for row in quarantined), QUARANTINE_SCHEMA)
    write_json(paths.metrics("ingest"), summarise(tables, media, quarantined))
    counts = ", ".join(f"{split} {len(table)}" for split, table in tables.items())
    print(f"ingest: rows {counts}; {len(media)} media files; {len(quarantined)} rows quarantined -> {paths.INGEST}")
    for row in quarantined[:5]:
        print(f"  left out: {row.source} row {row.row}: {row.field}: {row.reason}")


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
