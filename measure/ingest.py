"""`python -m measure.ingest`: ingest and the gates over 263,071 rows in the published schema, 1 % of them faulty.

Rows and empty media files are made in a temporary project; every hundredth row has one of twenty faults, in turn. Timed
are ingest with the probing of media left out (every file is taken as sound), and the gates `records`, `cot` and `sft`
over tables of as many rows, each stage in a process of its own as DVC runs it.

    python -m measure.ingest --rows 263071

The last line: `ingest: S s, P MB peak, found F of I faults, V false`, S in processor seconds, P of the largest process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tasks import paths
from tasks.core.io.tables import iter_table, writing_table
from tasks.core.schemas.records import COT_SCHEMA, QUARANTINE_SCHEMA, RECORD_SCHEMA, SFT_SCHEMA, truth_of
from tasks.ingest import __main__ as ingest
from tasks.ingest.manifest import MediaRow, Medium
from tasks.validate import __main__ as validate

PUBLISHED_ROWS = 263_071
FAULTY_EVERY = 100
FOLDERS, SUBFOLDERS = 7, 100
_WORDS = (
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
    "one option": lambda row: {**row, "problem_type": "multiple choice", "options": options if kind == "multiple choice" else [],
        "process": "",
        "solution": f"<answer>{truths.get(kind) or _text(random_, 8)}</answer>",
        "path": path,
        "data_source": "LLaVA-Video-178K/30_60_s_youtube_v0_1",
    }


def _text(random_: random.Random, words: int) -> str:
    return " ".join(random_.choices(_WORDS, k=words))


def _choice(options: list[str]) -> Row:
    return {"problem_type": "multiple choice", "options": options, "solution": "<answer>A</answer>"}


if __name__ == "__main__":
    sys.exit(main())
