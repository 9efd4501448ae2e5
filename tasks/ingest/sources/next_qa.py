"""NExT-QA (github.com/doc-doc/NExT-QA): train.csv, val.csv or test.csv, of multiple choice or open-ended questions.

Clips are `<video>.mp4` under the media root, or where map_vid_vidorID.json beside the table says. `type` is TN, TC, TP
(temporal), CW, CH (causal), DC, DL, DO, DB (descriptive).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.core.io.rows import RawRow, RowsError
from tasks.core.text.options import LETTERS
from tasks.ingest.sources.delimited import read_lines

MAP = "map_vid_vidorID.json"
_OPTIONS = ("a0", "a1", "a2", "a3", "a4")


def read(annotations: Path, media_root: Path) -> Iterator[RawRow]:
    """A row per question.

    Raises:
        RowsError: the table or the map is not what it should be.
    """
    places = _places(annotations.with_name(MAP))
    for number, line in enumerate(read_lines(annotations)):
        if isinstance(line, str):
            yield RawRow(number, None, line)
            continue
        absent = [name for name in ("video", "question", "answer") if not line.get(name)]
        if absent:
            yield RawRow(number, None, f"{annotations} row {number}: no {', '.join(absent)}")
        else:
            yield RawRow(number, _record(number, line, places))


def _record(number: int, line: Mapping[str, str], places: Mapping[str, str]) -> dict[str, Any]:
    options = [line.get(name, "").strip() for name in _OPTIONS]
    while options and not options[-1]:
        options.pop()
    answer = line["answer"]
    if options and answer in map(str, range(len(options))):
        answer = LETTERS[int(answer)]
    question, kind = line["question"].strip(), line.get("type", "")
    return {
        "problem_id": number,
        "problem": question if question.endswith("?") else f"{question}?",
        "data_type": "video",
        "problem_type": "multiple choice" if options else "free-form",
        "options": options,
        "solution": f"<answer>{answer}</answer>",
        "path": f"{places.get(line['video'], line['video'])}.mp4",
        "data_source": "NExT-QA",
        "skill": kind,
        "temporal": True if kind.startswith("T") else None,
    }


def _places(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        places = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise RowsError(f"{path}: not JSON: {error}") from error
    if not isinstance(places, dict):
        raise RowsError(f"{path}: not an object but {type(places).__name__}")
    return {str(video): str(place) for video, place in places.items()}
