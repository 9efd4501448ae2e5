"""WebDataset shards: tar files whose members share a name for each sample (`17.mp4`, `17.json`).

The .json of a sample is a record, or a list of records about its one medium, with Video-R1's fields; `question` and
`answer` stand for `problem` and `solution`. Where there are no ids rows are counted through all shards. `annotations`
is a shard or a folder of them, under the media root.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.core.io.rows import RawRow
from tasks.core.video import VideoError, archive
from tasks.ingest.sources.base import SourceError
from tasks.ingest.sources.table import IMAGES
from tasks.ingest.sources.truth import TruthError, solution_of

_IGNORED = (".json", ".txt", ".cls", ".vtt", ".srt")
"""Members of a sample that are no medium."""


def read(annotations: Path, media_root: Path) -> Iterator[RawRow]:
    """A row per record, shards by their names.

    Raises:
        SourceError: no shard there, or not under the media root.
    """
    shards = sorted(annotations.glob("*.tar")) if annotations.is_dir() else [annotations]
    if not shards or not all(shard.is_file() for shard in shards):
        raise SourceError(f"{annotations}: no such shard, and no folder of .tar files")
    if not annotations.resolve().is_relative_to(media_root.resolve()):
        raise SourceError(f"{annotations}: not under the media root {media_root}")
    number = 0
    for shard in shards:
        for value, fault in _records(shard, shard.resolve().relative_to(media_root.resolve()).as_posix()):
            yield RawRow(number, value and {"problem_id": number, **value}, fault)
            number += 1


def _records(shard: Path, place: str) -> Iterator[tuple[dict[str, Any] | None, str]]:
    try:
        held_files = archive.contents(shard)
    except VideoError as error:
        yield None, f"{shard}: {error.reason}"
        return
    samples: dict[str, list[str]] = {}
    for name in held_files.members:
        samples.setdefault(_key(name)[0], []).append(name)
    for key in dict.fromkeys(_key(name)[0] for name in held_files.replaced):
        yield None, f"{shard} sample {key}: comes again further on in the shard, and its last files count"
    for key, names in samples.items():
        yield from _sample(shard, place, key, names)
    if held_files.fault:
        yield None, f"{shard}: {held_files.fault}"


def _key(name: str) -> tuple[str, str]:
    """Sample and extension of a member; by WebDataset's rule the sample's name ends at the file name's first dot."""
    folder, file = PurePosixPath(name).parent, PurePosixPath(name).name
    stem, dot, extension = file.partition(".")
    return str(folder / stem), f"{dot}{extension}".lower()


def _sample(shard: Path, place: str, key: str, names: Sequence[str]) -> Iterator[tuple[dict[str, Any] | None, str]]:
    where = f"{shard} sample {key}"
    records = [name for name in names if _key(name)[1] == ".json"]
    media = [name for name in names if not _key(name)[1].endswith(_IGNORED)]
    if len(records) != 1 or len(media) != 1:
        yield None, f"{where}: holds {', '.join(names)}; one .json and one medium are wanted"
        return
    try:
        held = json.loads(archive.read_member(shard / records[0]))
    except (VideoError, ValueError, RecursionError) as error:
        yield None, f"{where}: not JSON: {str(error)[:200]}"
        return
    for value in held if isinstance(held, list) else [held]:
        if not isinstance(value, Mapping):
            yield None, f"{where}: not an object but {type(value).__name__}"
            continue
        try:
            yield _record(value, f"{place}/{media[0]}"), ""
        except TruthError as error:
            yield None, f"{where}: {error}"


def _record(value: Mapping[str, Any], path: str) -> dict[str, Any]:
    answer, options = value.get("answer"), value.get("options") or []
    listed = options if isinstance(options, list) and all(isinstance(option, str) for option in options) else []
    known = {
        "problem": value.get("question"),
        "problem_type": "multiple choice" if options else "free-form",
        "data_type": "image" if path.lower().endswith(IMAGES) else "video",
        "solution": None if answer is None else solution_of(answer, listed),
    }
    return {**known, **{name: given for name, given in value.items() if given is not None}, "path": path}
