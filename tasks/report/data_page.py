"""The data page and its inputs: what ingest made, before anything is trained on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks import paths
from tasks.core.io.documents import read_json
from tasks.core.io.errors import StageError
from tasks.core.io.tables import iter_parts
from tasks.core.schemas.records import MANIFEST_SCHEMA, QUARANTINE_SCHEMA, RECORD_SCHEMA, truth_of
from tasks.report.data import quarantine_table, splits_table
from tasks.report.dataset import (
    SPLITS,
    Dataset,
    balance_table,
    files_tables,
    media_table,
    overlap_tables,
    reason_table,
    source_table,
)
from tasks.report.pictures import Frame, Pictures
from tasks.report.tables import Table

TABLES = {"train": paths.TRAIN_RECORDS, "rl": paths.RL_RECORDS, "test": paths.TEST_RECORDS}
LOOKED_AT = ["source", "problem_type", "data_type", "temporal", "path", "solution"]
MOST_STRIPS = 24


class Strip(NamedTuple):
    """A row that is shown."""

    about: str
    frames: list[Frame]
    missing: str
    problem: str
    options: list[str]
    truth: str


class Section(NamedTuple):
    """Part of the page."""

    anchor: str
    name: str
    tables: list[Table]
    missing: str


def read_dataset() -> Dataset:
    """Tables and metrics of ingest.

    Raises:
        StageError: ingest has not run, or a table is not of its schema.
    """
    if not paths.metrics("ingest").exists():
        raise StageError(f"{paths.metrics('ingest')}: no such file; run `dvc repro ingest` first")
    records = [_looked_at(split, part) for split in SPLITS for part in iter_parts(TABLES[split], RECORD_SCHEMA)]
    manifest = [part.to_pandas() for part in iter_parts(paths.MANIFEST, MANIFEST_SCHEMA)]
    quarantine = [part.to_pandas() for part in iter_parts(paths.QUARANTINE, QUARANTINE_SCHEMA)]
    join = partial(pd.concat, ignore_index=True)
    return Dataset(join(records), join(manifest), join(quarantine), read_json(paths.metrics("ingest")))


def read_shown(data: Dataset, count: int) -> list[dict[str, Any]]:
    """The rows whose clips are shown: of every source and split `count`, drawn by a hash of the path."""
    shown: list[dict[str, Any]] = []
    for split in SPLITS:
        of_split = data.records[data.records["split"] == split].reset_index(drop=True)
        places: list[int] = []
        for _, of_source in of_split.groupby("source", sort=False):
            places += list(of_source["path"].map(_draw).nsmallest(count).index)
        if places:
            table = pa.concat_tables(iter_parts(TABLES[split], RECORD_SCHEMA))
            shown += [{**row, "split": split} for row in table.take(pa.array(places)).to_pylist()]
    return shown[:MOST_STRIPS]


def page_context(
    data: Dataset, shown: Sequence[Mapping[str, Any]], pictures: Sequence[Pictures], commit: str
) -> dict[str, Any]:
    """Everything the template prints.

    Args:
        data: tables of ingest.
        shown: rows whose clips are shown.
        pictures: theirs, in order.
        commit: commit of the code.
    """
    rows = ", ".join(f"{name} {len(of_split):,}" for name, of_split in data.records.groupby("split", sort=False))
    return {
        "title": "Video-R1 pipeline: data",
        "subtitle": f"rows: {rows}; {len(data.manifest):,} files; {len(data.quarantine):,} rows left out; {commit}",
        "sections": _sections(data),
        "strips": [_strip(row, frames) for row, frames in zip(shown, pictures, strict=True)],
    }


def _sections(data: Dataset) -> list[Section]:
    parts = [
        ("sources", "Sources", [source_table(data), splits_table(data.metrics)], "No source."),
        ("media", "Media", [media_table(data.manifest), *files_tables(data.manifest)], "No media."),
        ("answers", "Answers", [balance_table(data.records)], "No rows."),
        (
            "quarantine",
            "Left out",
            [reason_table(data.quarantine), quarantine_table(data.quarantine.to_dict("records"))],
            "No row is in quarantine.",
        ),
        (
            "overlap",
            "Asked twice, leaked",
            overlap_tables(data.metrics.get("overlap", {})),
            "No question is asked twice in its table, and train and rl share nothing with held-out rows.",
        ),
    ]
    return [
        Section(anchor, name, [table for table in tables if table.rows], missing)
        for anchor, name, tables, missing in parts
    ]


def _strip(row: Mapping[str, Any], pictures: Pictures) -> Strip:
    about = [row["split"], row["source"], str(row["problem_id"]), row["problem_type"], row["path"]]
    truth = truth_of(row["solution"])
    return Strip(", ".join(about), pictures.frames, pictures.missing, row["problem"], row["options"], truth)


def _looked_at(split: str, part: pa.Table) -> pd.DataFrame:
    counts = pc.list_value_length(part.column("options")).to_numpy()
    return part.select(LOOKED_AT).to_pandas().assign(split=split, n_options=counts)


def _draw(path: str) -> int:
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:7])
