"""Held-out sources: benchmark files that train and rl are held against.

Nothing is asked of them, so that a row needs no more than a question or a file; truth, type and id may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tasks.core.schemas.parsing import RecordError
from tasks.core.schemas.records import SOLUTION, Record
from tasks.core.text.options import LETTERS, lettered
from tasks.ingest.parse import Candidate, Quarantined, writable
from tasks.ingest.root import MediaRoot
from tasks.ingest.sources import FORMATS, Counted, SourceError, draw_rows

SPLIT = "held_out"


def read_held_out(
    *, name: str, format: str, annotations: str | None, media_root: str | None, rows: int | None, seed: int
) -> Iterator[Candidate | Quarantined]:
    """Rows as records; `path` is "" where the file is not there, and `solution` where no truth is known.

    Raises:
        SourceError: `annotations` is not given, a rendered source, or no such media root.
        RowsError: `annotations` does not exist or is not of its format.
    """
    if annotations is None or format not in FORMATS:
        raise SourceError(f"ingest.sources: '{name}': a held-out source is a file of questions and needs `annotations`")
    root = MediaRoot(Path(media_root), name) if media_root is not None else None
    folder = Path(media_root) if media_root is not None else Path(annotations).parent
    for raw in draw_rows(Counted(partial(FORMATS[format], Path(annotations), folder)), rows, seed):
        record = None if raw.fault else held_record(raw.value, raw.row, root)
        if record is None:
            reason = raw.fault or "neither a question nor a file"
            yield Quarantined(name, SPLIT, raw.row, None, "record", "record", writable(reason))
        else:
            yield Candidate(name, SPLIT, raw.row, record)


def held_record(value: object, row: int, root: MediaRoot | None) -> Record | None:
    """What a row holds of a question and its file; None when it holds neither."""
    if not isinstance(value, Mapping):
        return None
    problem, path = _text(value, "problem"), _text(value, "path")
    if not problem and not path:
        return None
    options = value.get("options")
    texts = [text for text in options if isinstance(text, str)] if isinstance(options, list) else []
    texts = lettered(texts) if len(texts) <= len(LETTERS) else texts
    solution = _text(value, "solution")
    own = value.get("problem_id")
    return Record(
        problem_id=own if isinstance(own, int) and 0 <= own < 2**62 else row,
        problem=problem,
        data_type="image" if value.get("data_type") == "image" else "video",
        problem_type="multiple choice" if texts else "free-form",
        options=texts,
        process="",
        solution=solution if not solution or SOLUTION.search(solution) else f"<answer>{solution}</answer>",
        path=_located(path, root),
    )


def _located(path: str, root: MediaRoot | None) -> str:
    if not path or root is None:
        return ""
    try:
        return root.locate(path, path)
    except RecordError:
        return ""


def _text(value: Mapping[str, Any], field: str) -> str:
    text = value.get(field)
    return text.encode(errors="replace").decode() if isinstance(text, str) else ""
