"""Files that a run reads and no stage makes: what is missing, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from tasks import paths
from tasks.core.io.errors import StageError
from tasks.core.io.rows import read_rows
from tasks.core.models.errors import ModelError
from tasks.core.models.load import check_folder, is_endpoint
from tasks.params import Params, Source, sources_of

SAMPLED = 200
"""Record paths that are looked for under a media root."""
COMES_FROM = {
    "qwen2.5-vl-3b-instruct": "checkpoint Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen2.5-vl-7b-instruct": "checkpoint Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen2.5-vl-32b-instruct": "checkpoint Qwen/Qwen2.5-VL-32B-Instruct",
    "qwen2.5-vl-72b-instruct": "checkpoint Qwen/Qwen2.5-VL-72B-Instruct",
    "qwen3-vl-8b-instruct": "checkpoint Qwen/Qwen3-VL-8B-Instruct",
    "qwen3-vl-32b-instruct": "checkpoint Qwen/Qwen3-VL-32B-Instruct",
    "qwen2.5-vl-7b-cot-sft": "checkpoint Video-R1/Qwen2.5-VL-7B-COT-SFT",
    "video-r1-7b": "checkpoint Video-R1/Video-R1-7B",
    "video-r1-260k.json": "data set Video-R1/Video-R1-data",
    "video-r1-cot-165k.json": "data set Video-R1/Video-R1-data",
    "video-r1-data": "archives of the data set Video-R1/Video-R1-data, unpacked",
    **{
        f"eval_{name}.json": "data set Video-R1/Video-R1-eval"
        for name in ("mvbench", "tempcompass", "videomme", "videommmu", "vsibench", "mmvu")
    },
    "vsi_bench": "data set nyu-visionx/VSI-Bench",
    "video_mmmu": "data set lmms-lab/VideoMMMU",
    "mmvu": "data set yale-nlp/MMVU",
    "mvbench": "data set OpenGVLab/MVBench",
    "tempcompass": "data set lmms-lab/TempCompass",
    "video_mme": "data set lmms-lab/Video-MME",
    "video_holmes": "data set TencentARC/Video-Holmes",
}
"""Published files by name, on Hugging Face; lower case."""
ROWS = {
    "video-r1-260k.json": 263_071,
    "video-r1-cot-165k.json": 165_575,
    "eval_mvbench.json": 4_000,
    "eval_tempcompass.json": 7_540,
    "eval_videomme.json": 2_700,
    "eval_videommmu.json": 900,
    "eval_vsibench.json": 5_130,
    "eval_mmvu.json": 625,
    "vsi_bench": 5_130,
    "video_mmmu": 900,
    "mmvu": 1_000,
    "mvbench": 4_000,
    "tempcompass": 7_540,
    "video_mme": 2_700,
    "video_holmes": 1_837,
}
"""Rows of the published files, about, for a plan made before they are fetched."""


class Missing(NamedTuple):
    """Something that a run reads and that is not there."""

    needed_by: str
    path: str
    reason: str
    comes_from: str = ""

    def __str__(self) -> str:
        """What is missing first."""
        return f"{self.reason}, for {self.needed_by}" + (f" ({self.comes_from})" if self.comes_from else "")


class Counted(NamedTuple):
    """Rows of a source."""

    rows: int | None
    """None: neither there nor a published file of that name."""
    how: str
    """`counted`, `published`, `params` or `unknown`."""


def missing_models(params: Params) -> Iterator[Missing]:
    """Checkpoints and endpoint files that are not there, or not whole."""
    made = {str(paths.SFT_MODEL), str(paths.GRPO_MODEL)}
    wanted = {f"models.{name}": path for name, path in params.models.items() if path not in made}
    if params.start.at == "sft":
        wanted["start.path"] = str(params.start.path)
    for place, path in wanted.items():
        if is_endpoint(path):
            if not Path(path).is_file():
                yield Missing(place, path, f"{path}: no such endpoint file")
            continue
        try:
            check_folder(path)
        except ModelError as error:
            idle = place == "models.teacher" and params.start.at != "teacher" and "teacher" not in params.benchmarked()
            hint = "; nobody asks it: take the line out of `models`" if idle else ""
            yield Missing(place, path, f"{error}{hint}", _origin(path))


def missing_data(params: Params) -> Iterator[Missing]:
    """Record files, media and annotations that are not there."""
    for source in sources_of(params.start, params.ingest):
        place = f"ingest.sources {source.name}"
        if source.format == "world":
            continue
        if not source.annotations or not Path(source.annotations).is_file():
            yield Missing(
                place, str(source.annotations), f"{source.annotations}: no such file", _origin(source.annotations)
            )
        if not source.media_root or not Path(source.media_root).is_dir():
            yield Missing(
                place, str(source.media_root), f"{source.media_root}: no such folder", _origin(source.media_root)
            )
        elif source.annotations and Path(source.annotations).is_file() and source.format.startswith("video_r1"):
            yield from _missing_media(place, source)
    for suite in params.benchmark.suites:
        for path in dict.fromkeys((suite.annotations, suite.media or suite.annotations)):
            if not Path(path).is_dir() or not any(Path(path).iterdir()):
                yield Missing(
                    f"benchmark.suites {suite.name}", path, f"{path}: no such folder, or empty", _origin(suite.name)
                )


def _missing_media(place: str, source: Source) -> Iterator[Missing]:
    """Whether the media of the first records are there."""
    root, absent, seen = Path(str(source.media_root)), [], 0
    try:
        for row in read_rows(Path(str(source.annotations))):
            path = row.value.get("path") if isinstance(row.value, dict) else None
            if isinstance(path, str):
                seen += 1
                if not (root / path.removeprefix("./")).is_file():
                    absent.append(path)
            if seen == SAMPLED:
                break
    except StageError as error:
        yield Missing(place, str(source.annotations), str(error))
    if absent:
        reason = f"{len(absent)} of the first {seen} media are missing below {root}, the first is {absent[0]}"
        yield Missing(place, str(root), reason, _origin(str(root)))


def source_rows(source: Source) -> Counted:
    """Rows that a source gives; a file of a published name is not read."""
    if source.format == "world":
        return Counted(source.rows or 0, "params")
    path = Path(source.annotations or "")
    counted = Counted(ROWS.get(path.name.lower()), "published")
    if path.is_file() and path.suffix == ".parquet":
        counted = Counted(pq.read_metadata(path).num_rows, "counted")
    elif path.is_file():
        try:
            counted = Counted(sum(1 for _ in read_rows(path)), "counted")
        except StageError:
            counted = Counted(None, "unknown")
    if counted.rows is None:
        return Counted(None, "unknown")
    return counted if source.rows is None else Counted(min(counted.rows, source.rows), counted.how)


def media_count(params: Params) -> int | None:
    """Media of all sources, a record file that two of them name counted once; None: unknown."""
    sources = {source.annotations or source.name: source for source in sources_of(params.start, params.ingest)}
    counts = [source_rows(source).rows for source in sources.values()]
    return None if None in counts else sum(count or 0 for count in counts)


def split_rows(params: Params, split: str) -> Counted:
    """Rows of a table that ingest makes, before any is left out."""
    counts = [source_rows(source) for source in sources_of(params.start, params.ingest) if source.split == split]
    if any(count.rows is None for count in counts):
        return Counted(None, "unknown")
    hows = {count.how for count in counts}
    return Counted(sum(count.rows or 0 for count in counts), ", ".join(sorted(hows)) or "params")


def _origin(path: str | None) -> str:
    return COMES_FROM.get(Path(path or "").name.lower(), "")


def missing_all(params: Params) -> list[Missing]:
    """All of them; what several need is told once."""
    by_file: dict[str, Missing] = {}
    for each in (*missing_models(params), *missing_data(params)):
        before = by_file.get(each.reason)
        names = each.needed_by if before is None else f"{before.needed_by}, {each.needed_by.rpartition(' ')[2]}"
        by_file[each.reason] = each._replace(needed_by=names, comes_from=each.comes_from or (before or each).comes_from)
    return list(by_file.values())
