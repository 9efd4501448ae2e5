"""WebDataset shards: tar files whose members share a name for each sample (`17.mp4`, `17.json`).

The .json of a sample is a record, or a list of records about its one medium, with Video-R1's fields; `question` and
`answer` stand for `problem` and `solution`. Where there are no ids rows are counted through all shards. `annotations`
is a shard or a folder of them, under the media root.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.core.io.rows import RawRow
from tasks.core.video import VideoError, archive
from tasks.ingest.sources.base import SourceError
from tasks.ingest.sources.table import IMAGES

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
        members, fault = archive.contents(shard)
    except VideoError as error:
        yield None, f"{shard}: {error.reason}"
        return
    samples: dict[str, dict[str, str]] = {}
    for name in members:
        # WebDataset's rule: the name of a sample ends at the first dot of the file's name.
        folder, stem = PurePosixPath(name).parent, PurePosixPath(name).name
        key, dot, extension = stem.partition(".")
        samples.setdefault(str(folder / key), {})[f"{dot}{extension}".lower()] = name
    for key, files in samples.items():
        yield from _sample(shard, place, key, files)
    if fault:
        yield None, f"{shard}: {fault}"


def _sample(shard: Path, place: str, key: str, files: Mapping[str, str]) -> Iterator[tuple[dict[str, Any] | None, str]]:
    media = [name for extension, name in files.items() if not extension.endswith(_IGNORED)]
    if ".json" not in files or len(media) != 1:
        yield None, f"{shard} sample {key}: holds {', '.join(files.values())}; one .json and one medium are wanted"
        return
    try:
        held = json.loads(archive.read_member(shard / files[".json"]))
    except (VideoError, ValueError, RecursionError) as error:
        yield None, f"{shard} sample {key}: not JSON: {str(error)[:200]}"
        return
    for value in held if isinstance(held, list) else [held]:
        if isinstance(value, Mapping):
            yield _record(value, f"{place}/{media[0]}"), ""
        else:
            yield None, f"{shard} sample {key}: not an object but {type(value).__name__}"


def _record(value: Mapping[str, Any], path: str) -> dict[str, Any]:
    answer, options = value.get("answer"), value.get("options") or []
    known = {
        "problem": value.get("question"),
        "problem_type": "multiple choice" if options else "free-form",
        "data_type": "image" if path.lower().endswith(IMAGES) else "video",
        "solution": None if answer is None else f"<answer>{answer}</answer>",
    }
    return {**known, **{name: given for name, given in value.items() if given is not None}, "path": path}
