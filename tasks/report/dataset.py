"""What the tables of ingest hold, as tables: pure functions from columns to cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.core.schemas.records import truth_of
from tasks.report.tables import NONE, Cell, Table, percent

SPLITS = ("train", "rl", "test")
CHOICE = "multiple choice"
REASONS_SHOWN = 20
_SHOWN_CHARS = 80
_NAMED = re.compile(r"'[^']*'|\"[^\"]*\"|(?<!\S)[^\s<]*/[^\s<]*|-?\d+(?:\.\d+)?")
"""What differs from row to row in a reason: quoted text, paths, numbers."""


class Dataset(NamedTuple):
    """Tables of ingest, the columns that are looked at."""

    records: pd.DataFrame
    """Of all splits: split, source, problem_type, data_type, temporal, path, solution, n_options."""
    manifest: pd.DataFrame
    """Media: MANIFEST_SCHEMA."""
    quarantine: pd.DataFrame
    """QUARANTINE_SCHEMA."""
    metrics: Mapping[str, Any]
    """reports/ingest/metrics.json."""


class Bins(NamedTuple):
    """Classes of a number: each holds what is below its bound and not below the one before."""

    bounds: Sequence[float]
    names: Sequence[str]
    """One more than there are bounds."""


SECONDS = Bins((5, 15, 30, 60, 300), ("< 5 s", "5-15 s", "15-30 s", "30-60 s", "1-5 min", ">= 5 min"))
RATES = Bins((5, 12, 20, 26, 35), ("< 5", "5-12", "12-20", "20-26", "26-35", ">= 35"))
SIDES = Bins(
    (128, 256, 384, 512, 768, 1088), ("< 128", "128-255", "256-383", "384-511", "512-767", "768-1087", ">= 1088")
)


def files_tables(manifest: pd.DataFrame) -> list[Table]:
    """How long, how fast, how large the media that decode are, and in which codecs."""
    sound = manifest[manifest["status"] == "ok"]
    video = sound[sound["data_type"] == "video"]
    return [
        spread_table("Durations of videos", "duration", video["duration_seconds"], SECONDS),
        spread_table("Frame rates of videos", "frames per second", video["fps"], RATES),
        spread_table("Frame sizes", "shorter side, pixels", sound[["width", "height"]].min(axis=1), SIDES),
        common_table("Codecs and formats", "codec", sound["codec"]),
    ]


def licence_of(source: Mapping[str, Any]) -> str:
    """What a source says of its licence; what is rendered here is this project's."""
    return str(source["licence"]) or ("this project's" if source["format"] == "world" else "")


def source_table(data: Dataset) -> Table:
    """Rows, media and licence of every source."""
    records, lost = data.records, data.quarantine
    rows = []
    for source in data.metrics.get("sources", []):
        of_source = records[records["source"] == source["name"]]
        media = of_source["path"].nunique()
        counts = [
            source["read"],
            len(of_source),
            int((of_source["data_type"] == "video").sum()),
            int((of_source["data_type"] == "image").sum()),
            media,
            int((lost["source"] == source["name"]).sum()),
        ]
        words = [*(source[name] for name in ("name", "format", "split")), licence_of(source) or "not given"]
        per_medium = f"{len(of_source) / media:.2f}" if media else NONE
        rows.append([*map(Cell, words), *[Cell(f"{count:,}") for count in counts], Cell(per_medium)])
    head = [
        "source",
        "format",
        "split",
        "licence",
        "read",
        "rows",
        "video",
        "image",
        "media",
        "quarantined",
        "rows per medium",
    ]
    return Table("Sources", head, rows, left=4)


def media_table(manifest: pd.DataFrame) -> Table:
    """Files, bytes and time by kind."""
    rows = []
    for kind, files in manifest.groupby("data_type"):
        sound = files[files["status"] == "ok"]
        seconds = sound["duration_seconds"] if kind == "video" else sound["duration_seconds"][:0]
        times = [f"{value:.1f} s" for value in seconds.quantile([0, 0.5, 1])] if len(seconds) else [NONE] * 3
        total = f"{seconds.sum() / 3600:.2f}" if len(seconds) else NONE
        size = f"{files['size_bytes'].sum() / 2**30:.3f}"
        contents = sound["sha256"].nunique()
        counts = [len(files), len(files) - len(sound), contents]
        rows.append([Cell(str(kind)), *[Cell(f"{count:,}") for count in counts], *map(Cell, [size, total, *times])])
    head = ["media", "files", "refused", "distinct contents", "GiB", "hours", "shortest", "median", "longest"]
    return Table("Media", head, rows)


def spread_table(title: str, label: str, values: pd.Series, bins: Bins) -> Table:
    """How many values fall into each class."""
    places = np.searchsorted(np.asarray(bins.bounds), values.dropna().to_numpy(dtype=float), side="right")
    counts = np.bincount(places, minlength=len(bins.names))
    total = counts.sum()
    rows = [
        [Cell(name), Cell(f"{count:,}"), Cell(percent(count / total))]
        for name, count in zip(bins.names, counts, strict=True)
        if count
    ]
    return Table(title, [label, "files", "share"], rows)


def common_table(title: str, label: str, values: pd.Series) -> Table:
    """The values there are, the most frequent first."""
    counts = values.value_counts()
    rows = [[Cell(str(name)), Cell(f"{count:,}"), Cell(percent(count / len(values)))] for name, count in counts.items()]
    return Table(title, [label, "files", "share"], rows[:REASONS_SHOWN])


def balance_table(records: pd.DataFrame) -> Table:
    """What always giving the same answer would score, by split and problem type."""
    rows = []
    for (split, kind), of_kind in records.groupby(["split", "problem_type"], sort=False):
        truths = of_kind["solution"].map(truth_of)
        counts = truths.value_counts().sort_index().sort_values(ascending=False, kind="stable")
        chance = percent((1 / of_kind["n_options"].clip(lower=1)).mean()) if kind == CHOICE else NONE
        shares = ", ".join(f"{truth} {percent(count / len(truths))}" for truth, count in counts.sort_index().items())
        rows.append(
            [
                *map(Cell, (str(split), str(kind), str(counts.index[0])[:_SHOWN_CHARS])),
                *map(Cell, (f"{len(of_kind):,}", f"{len(counts):,}", percent(counts.iloc[0] / len(truths)), chance)),
                Cell(shares if kind == CHOICE else NONE),
            ]
        )
    head = ["split", "problem type", "commonest answer", "rows", "answers", "its share", "chance", "letters"]
    caption = "Its share: accuracy of always giving that answer. Chance: of an option drawn at random."
    return Table("Answer balance", head, rows, left=3, caption=caption)


def reason_table(quarantine: pd.DataFrame) -> Table:
    """Rows left out by reason; what differs from row to row in a reason is left open."""
    if quarantine.empty:
        return Table("Quarantine by reason", [], [])
    reason = quarantine["reason"].map(lambda text: _NAMED.sub("..", text)[:_SHOWN_CHARS])
    where = quarantine["source"] + " row " + quarantine["row"].astype(str)
    groups = quarantine.assign(reason=reason, where=where).groupby(["kind", "field", "reason"])["where"]
    counted = groups.agg(["size", "first"]).sort_values("size", ascending=False, kind="stable")
    rows = [
        [*map(Cell, map(str, key)), Cell(str(row["first"])), Cell(f"{row['size']:,}")]
        for key, row in counted.head(REASONS_SHOWN).iterrows()
    ]
    rest = len(counted) - len(rows)
    caption = f"And {rest} rarer reasons: data/ingest/quarantine.parquet." if rest else ""
    return Table("Quarantine by reason", ["kind", "field", "reason", "first", "rows"], rows, left=4, caption=caption)


def overlap_tables(overlap: Mapping[str, Any]) -> list[Table]:
    """Repeated and leaked questions: counts by source, and examples."""
    counts, examples = [], []
    for name in ("repeats", "leaks", "leaked_texts"):
        part = overlap.get(name, {})
        done = "left out" if part.get("action") == "quarantine" else "reported"
        counts += [
            [
                *map(Cell, (row["kind"], row["split"], row["source"], row["other_source"], done)),
                Cell(f"{row['rows']:,}"),
            ]
            for row in part.get("by_source", [])
        ]
        examples += [_example(item) for item in part.get("examples", [])]
    return [
        Table("Asked twice, leaked", ["kind", "split", "source", "of source", "what was done", "rows"], counts, left=5),
        Table("Examples of them", ["kind", "row", "question", "of", "its question", "similarity"], examples, left=5),
    ]


def _example(item: Mapping[str, Any]) -> list[Cell]:
    row, other = item["row"], item["other"]
    return [
        Cell(item["kind"]),
        *(
            Cell(text)
            for side in (row, other)
            for text in (f"{side['split']} {side['problem_id']}", side["problem"][:_SHOWN_CHARS])
        ),
        Cell(NONE if item["kind"] == "medium" else f"{item['similarity']:.2f}"),
    ]
