"""`python -m tasks.ingest`: read `ingest.sources`, write data/ingest and reports/ingest/metrics.json."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Sequence

from tasks import params, paths
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import run_stage
from tasks.core.io.seeds import derive_seed
from tasks.core.io.tables import write_table
from tasks.core.schemas.records import MANIFEST_SCHEMA, QUARANTINE_SCHEMA, RECORD_SCHEMA, Record
from tasks.ingest.ingest import (
    SPLITS,
    check_names,
    drop_undecodable,
    medium_of,
    number_records,
    read_video_r1,
    render_world,
    summarise,
)
from tasks.ingest.manifest import MediaRow, check_media
from tasks.ingest.mix import mix_media
from tasks.ingest.parse import Candidate, Quarantined, drop_duplicates

TABLES = {"train": paths.TRAIN_RECORDS, "rl": paths.RL_RECORDS, "test": paths.TEST_RECORDS}
MIXED = ("train", "rl")


def main() -> None:
    """Run the stage."""
    loaded = params.load()
    section = loaded.ingest
    check_names([source.name for source in section.sources])
    shutil.rmtree(paths.MEDIA, ignore_errors=True)
    candidates, quarantined = _collect(section.sources, section.workers)
    media = check_media((medium_of(candidate.record) for candidate in candidates), section.workers)
    decodable = drop_undecodable(candidates, media)
    quarantined += decodable.quarantined

    tables: dict[str, list[Record]] = {}
    for split in SPLITS:
        unique = drop_duplicates(candidate for candidate in decodable.candidates if candidate.split == split)
        quarantined += unique.quarantined
        share = section.video_share if split in MIXED else None
        mixed = mix_media(unique.candidates, share, derive_seed(loaded.seed, "ingest", "mix", split))
        tables[split] = number_records(mixed, [source.name for source in section.sources if source.split == split])
    order = [source.name for source in section.sources]
    quarantined.sort(key=lambda row: (order.index(row.source), row.row))
    _write(tables, list(media.values()), quarantined)


def _collect(sources: Iterable[params.Source], workers: int) -> tuple[list[Candidate], list[Quarantined]]:
    candidates: list[Candidate] = []
    quarantined: list[Quarantined] = []
    for source in sources:
        if source.format == "world":
            parsed = render_world(
                name=source.name,
                split=source.split,
                rows=source.rows,
                seed=source.seed,
                shortcut_bias=source.shortcut_bias,
                media_dir=paths.MEDIA,
                workers=workers,
            )
        else:
            parsed = read_video_r1(
                name=source.name,
                split=source.split,
                annotations=source.annotations,
                media_root=source.media_root,
                rows=source.rows,
                seed=source.seed,
            )
        candidates += parsed.candidates
        quarantined += parsed.quarantined
    return candidates, quarantined


def _write(tables: dict[str, list[Record]], media: Sequence[MediaRow], quarantined: Sequence[Quarantined]) -> None:
    paths.MEDIA.mkdir(parents=True, exist_ok=True)
    for split, records in tables.items():
        write_table(TABLES[split], map(dataclasses.asdict, records), RECORD_SCHEMA)
    write_table(paths.MANIFEST, map(dataclasses.asdict, media), MANIFEST_SCHEMA)
    write_table(paths.QUARANTINE, (row._asdict() for row in quarantined), QUARANTINE_SCHEMA)
    write_json(paths.metrics("ingest"), summarise(tables, media, quarantined))
    counts = ", ".join(f"{split} {len(records)}" for split, records in tables.items())
    print(f"ingest: rows {counts}; {len(media)} media files; {len(quarantined)} rows quarantined -> {paths.INGEST}")
    for row in quarantined[:5]:
        print(f"  left out: {row.source} row {row.row}: {row.field}: {row.reason}")


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
