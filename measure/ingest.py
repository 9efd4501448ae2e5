"""`python -m measure.ingest`: ingest and the gates over 263,071 rows in the published schema, 1 % of them faulty.

Rows and empty media files are made in a temporary project; every hundredth row has one of twenty faults, in turn. Timed
are ingest with the probing of media left out (every file is taken as sound), and the gates `records`, `cot` and `sft`
over tables of as many rows, each stage in a process of its own as DVC runs it.

    python -m measure.ingest --rows 263071

The last line: `ingest: S s, P MB peak, found F of I faults, V false`, S by the clock with the start of every stage, P
that of the stage that takes most, all its processes together.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from measure.cost import run
from tasks import paths
from tasks.core.io.cli import OneLineParser, run_tool
from tasks.core.io.given import whole_number
from tasks.core.io.tables import iter_table, write_table, writing_table
from tasks.core.schemas.records import (
    COT_SCHEMA,
    QUARANTINE_SCHEMA,
    RECORD_SCHEMA,
    REJECTED_SCHEMA,
    SFT_SCHEMA,
    truth_of,
)
from tasks.ingest import __main__ as ingest
from tasks.ingest.manifest import MediaRow, Medium
from tasks.validate import __main__ as validate

PUBLISHED_ROWS = 263_071
FAULTY_EVERY = 100
FOLDERS, SUBFOLDERS = 7, 100
WORDS = (
    *("the", "ball", "person", "moves", "left", "right", "opens", "door", "before", "after", "video", "cup", "red"),
    *("blue", "what", "which", "how", "many", "first", "then"),
)
_KINDS = ["multiple choice"] * 64 + ["free-form"] * 15 + ["numerical"] * 13 + ["OCR"] * 6 + ["regression"] * 2
"""As often as in the published file."""

Row = dict[str, Any]
FAULTS: dict[str, Callable[[Row], Row | str]] = {
    "no id": lambda row: {**row, "problem_id": None},
    "id taken": lambda row: {**row, "problem_id": row["problem_id"] - 1},
    "id as text": lambda row: {**row, "problem_id": "x7"},
    "no question": lambda row: {**row, "problem": " "},
    "question is a number": lambda row: {**row, "problem": 7},
    "half a surrogate": lambda row: {**row, "problem": "\ud800"},
    "visual token": lambda row: {**row, "problem": "What is <|video_pad|>?"},
    "end of a turn": lambda row: {**row, "problem": "What? <|im_end|>"},
    "unknown data type": lambda row: {**row, "data_type": "audio"},
    "unknown problem type": lambda row: {**row, "problem_type": "ocr"},
    "one option": lambda row: {**row, "problem_type": "multiple choice", "options": ["A. x"]},
    "one label twice": lambda row: {**row, "problem_type": "multiple choice", "options": ["A. x", "A. y"]},
    "two options alike": lambda row: {**row, **_choice(["A. x", "B. x"])},
    "empty option": lambda row: {**row, **_choice(["A. x", ""])},
    "letter of no option": lambda row: {**row, **_choice(["A. x", "B. y"]), "solution": "<answer>C</answer>"},
    "truth without tags": lambda row: {**row, "solution": "B"},
    "number that is none": lambda row: {**row, "problem_type": "numerical", "solution": "<answer>1:30</answer>"},
    "path that leads out": lambda row: {**row, "path": "../secret.mp4"},
    "no such file": lambda row: {**row, "path": f"./gone/{row['problem_id']}.mp4"},
    "not an object": lambda row: json.dumps(row),
}


def main() -> int:
    """Make the project, run the stages, print a line each and the sum."""
    parser = OneLineParser(prog="python -m measure.ingest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=whole_number(), default=PUBLISHED_ROWS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        faulty = make_project(options.rows)
        costs = {"ingest": run(_ingest)}
        refused = {row["row"] for row in iter_table(paths.QUARANTINE, QUARANTINE_SCHEMA)}
        make_later_tables()
        for gate in ("records", "cot", "sft"):
            costs[f"validate {gate}"] = run(_validate, gate)
    for stage, cost in costs.items():
        print(f"{stage}: {cost}")
    seconds = sum(cost.seconds for cost in costs.values())
    peak = max(cost.peak_mb for cost in costs.values())
    detected, false = len(faulty & refused), len(refused - faulty)
    print(f"ingest: {seconds:.1f} s, {peak:.0f} MB peak, found {detected} of {len(faulty)} faults, {false} false")
    return int(detected != len(faulty) or false > 0)


def make_project(rows: int) -> set[int]:
    """Annotations, media and parameters in the working directory; returns the places of the faulty rows."""
    random_, kinds = random.Random(0), list(FAULTS)
    faulty: set[int] = set()
    media = Path("media")
    for number in range(FOLDERS * SUBFOLDERS):
        (media / f"F{number % FOLDERS}/s{number // FOLDERS}").mkdir(parents=True)
    with Path("rows.json").open("w") as file:
        for place in range(rows):
            row: Any = published_row(place, random_)
            (media / row["path"]).touch()
            if place % FAULTY_EVERY == FAULTY_EVERY - 1:
                row = FAULTS[kinds[len(faulty) % len(kinds)]](row)
                faulty.add(place)
            file.write(("," if place else "[") + json.dumps(row))
        file.write("]")
    few = {"format": "video_r1", "annotations": "rows.json", "media_root": "media", "rows": 1}
    sources = [
        {**few, "name": "train", "split": "train", "rows": None},
        {**few, "name": "rl", "split": "rl"},
        {**few, "name": "test", "split": "test", "seed": 1},
    ]
    params = {"data_root": ".", "models": {"base": "base"}, "ingest": {"sources": sources, "workers": 2}}
    paths.PARAMS.write_text(yaml.safe_dump(params))
    return faulty


def make_later_tables() -> None:
    """Tables of annotate and filter with a row for every train record."""
    write_table(paths.REJECTED_ROWS, [], REJECTED_SCHEMA)
    think = "<think>" + " ".join(WORDS * 5) + "</think>"
    with writing_table(paths.COT, COT_SCHEMA) as cot, writing_table(paths.SFT_ROWS, SFT_SCHEMA) as sft:
        for row in iter_table(paths.TRAIN_RECORDS, RECORD_SCHEMA):
            completion = f"{think}\n{row['solution']}"
            answered = {"completion": completion, "answer": truth_of(row["solution"]), "finish_reason": "stop"}
            cot.add({**row, **answered, "reward": 1.0, "sample": 0, "error": ""})
            sft.add({**row, "process": think, "reward": 1.0})


def _ingest() -> int:
    ingest.check_media = _taken_as_sound  # type: ignore[assignment]
    ingest.main()
    return 0


def _validate(gate: str) -> int:
    sys.argv = ["validate", gate]
    return validate.main()


def _taken_as_sound(media: Any, *_: Any) -> dict[Medium, MediaRow]:
    facts: dict[str, Any] = {
        "frames": 16,
        "fps": 2.0,
        "width": 8,
        "height": 8,
        "codec": "h264",
        "duration_seconds": 8.0,
    }
    return {medium: _sound(medium, number, facts) for number, medium in enumerate(dict.fromkeys(media))}


def _sound(medium: Medium, number: int, facts: dict[str, Any]) -> MediaRow:
    return MediaRow(medium.path, medium.data_type, f"{number:064x}", 1, **facts)


def published_row(place: int, random_: random.Random) -> Row:
    """A sound row in the published schema."""
    kind = random_.choice(_KINDS)
    truths = {"multiple choice": random_.choice("ABCD"), "numerical": str(place % 90), "regression": f"{place / 7:.2f}"}
    options = [f"{letter}. {some_words(random_, 3)} {letter}" for letter in "ABCD"]
    path = f"./F{place % FOLDERS}/s{place // FOLDERS % SUBFOLDERS}/{place}.mp4"
    return {
        "problem_id": place,
        "problem": f"{some_words(random_, 14)} {place}?",
        "data_type": "video" if place % 9 < 4 else "image",
        "problem_type": kind,
        "options": options if kind == "multiple choice" else [],
        "process": "",
        "solution": f"<answer>{truths.get(kind) or some_words(random_, 8)}</answer>",
        "path": path,
        "data_source": "LLaVA-Video-178K/30_60_s_youtube_v0_1",
    }


def some_words(random_: random.Random, words: int) -> str:
    """A text of so many words."""
    return " ".join(random_.choices(WORDS, k=words))


def _choice(options: list[str]) -> Row:
    return {"problem_type": "multiple choice", "options": options, "solution": "<answer>A</answer>"}


if __name__ == "__main__":
    run_tool(main)
