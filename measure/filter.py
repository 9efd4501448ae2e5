"""`python -m measure.filter`: the filter with every rule on over 165,000 annotated rows, a tenth of them faulty.

A tenth of the rows is filtered first, then all: peak memory should be the same. The faults are of as many kinds as
there are rules, and each rule has to reject its own rows and no other.

    python -m measure.filter --rows 165000

The last line: `filter: S s, P MB peak, N rows kept of M`.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from measure.cost import Cost, run
from measure.ingest import published_row, some_words
from tasks import paths
from tasks.core.io.cli import OneLineParser, run_tool
from tasks.core.io.given import whole_number
from tasks.core.io.tables import check_rows
from tasks.core.schemas.records import COT_SCHEMA, truth_of
from tasks.filter import __main__ as filter_stage

COT_ROWS = 165_000
FAULTY_EVERY = 10
ROWS_AT_ONCE = 4096
THINK_WORDS = 160
RULES = {
    "reject_leaks": True,
    "reject_disagreement": True,
    "reject_refusals": True,
    "require_option_mention": True,
    "min_self_consistency": 0.5,
    "temporal_reference": "video",
}
_STILL = ("the", "ball", "person", "left", "right", "door", "cup", "red", "blue", "is", "on", "near", "table")

Row = dict[str, Any]


def main() -> int:
    """Filter a tenth of the rows, then all."""
    parser = OneLineParser(prog="python -m measure.filter", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=whole_number(), default=COT_ROWS)
    options = parser.parse_args()
    is_right = True
    for rows in (options.rows // 10, options.rows):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            cost, kept, told = _filter(rows)
            is_right = is_right and told
        if rows != options.rows:
            print(f"{rows} rows: {cost}")
    print(f"{options.rows} rows: {cost}")
    print(f"filter: {cost.seconds:.1f} s, {cost.peak_mb:.0f} MB peak, {kept} rows kept of {options.rows}")
    return int(not is_right)


def _filter(rows: int) -> tuple[Cost, int, bool]:
    """Filter so many rows in the working directory; what it took, rows kept, whether every rule rejected its own."""
    expected = make_table(rows)
    cost = run(_stage)
    metrics = json.loads(paths.metrics("filter").read_text())
    rejected = {rule: count for rule, count in metrics["rejected"].items() if count}
    if rejected != expected:
        print(f"rejected by rule: {rejected}; made: {expected}", file=sys.stderr)
    return cost, metrics["kept"], rejected == expected


def make_table(rows: int) -> dict[str, int]:
    """Annotated rows and parameters in the working directory; returns how many rows each rule has to reject."""
    source = {"name": "train", "format": "video_r1", "split": "train", "annotations": "rows.json", "media_root": "."}
    params = {"data_root": ".", "models": {"base": "base"}, "ingest": {"sources": [source]}, "filter": RULES}
    paths.PARAMS.write_text(yaml.safe_dump(params))
    expected: Counter[str] = Counter()
    made = _rows(rows, random.Random(0), expected)
    parts = iter(lambda: list(islice(made, ROWS_AT_ONCE)), [])
    table = pa.concat_tables([check_rows(part, COT_SCHEMA, "made") for part in parts])
    paths.COT.parent.mkdir(parents=True)
    # In one piece, as annotate writes it.
    pq.write_table(table, paths.COT)
    return dict(expected)


def _rows(count: int, random_: random.Random, expected: Counter[str]) -> Iterator[Row]:
    rules = list(FAULTS)
    for place in range(count):
        row = _sound(place, random_)
        if place % FAULTY_EVERY == FAULTY_EVERY - 1:
            rule = rules[place // FAULTY_EVERY % len(rules)]
            row = FAULTS[rule](row, random_)
            expected[rule] += 1
        yield row


def _sound(place: int, random_: random.Random) -> Row:
    """A row that no rule rejects."""
    record = {**published_row(place, random_), "temporal": None, "skill": "", "source": "train"}
    truth = truth_of(record["solution"])
    thought = f"At first {some_words(random_, THINK_WORDS)}. So the answer is {truth}."
    written = {"reward": 1.0, "finish_reason": "stop", "sample": 0, "error": ""}
    return {**record, **_said(thought, truth), **written}


def _said(thought: str, answer: str) -> Row:
    return {"completion": f"<think>{thought}</think>\n<answer>{answer}</answer>", "answer": answer}


def _choice(row: Row) -> Row:
    """The same as a question with options, B the right one."""
    options = [f"{letter}. {word}" for letter, word in zip("ABCD", ("ham", "egg", "jam", "tea"), strict=True)]
    return {**row, "problem_type": "multiple choice", "options": options, "solution": "<answer>B</answer>"}


def _of(thought: Callable[[random.Random], str], answer: str = "B") -> Callable[[Row, random.Random], Row]:
    return lambda row, random_: {**_choice(row), **_said(thought(random_), answer)}


def _still(random_: random.Random) -> str:
    return " ".join(random_.choices(_STILL, k=THINK_WORDS))


FAULTS: dict[str, Callable[[Row, random.Random], Row]] = {
    "unanswered": lambda row, _: {
        **row,
        **{"completion": "", "answer": "", "reward": 0.0, "finish_reason": "error", "error": "timed out"},
    },
    "reward": _of(lambda random_: f"At first {some_words(random_, THINK_WORDS)}. The answer is C.", "C"),
    "format": lambda row, _: {**row, "completion": row["completion"] + " I hope this helps."},
    "length": _of(lambda _: "then B"),
    "language": _of(lambda random_: f"At first {some_words(random_, 20)}, {'首先球向左边移动' * 20} B"),
    "repetition": _of(lambda _: "at first the ball moves left, so B, " * 30),
    "leak": _of(lambda random_: f"The answer is B. At first {some_words(random_, THINK_WORDS)}"),
    "disagreement": _of(lambda random_: f"At first {some_words(random_, THINK_WORDS)}, not B. The answer is C."),
    "refusal": _of(lambda random_: f"At first {some_words(random_, THINK_WORDS)}. I cannot tell, perhaps B."),
    "option_mention": _of(lambda random_: f"At first {some_words(random_, THINK_WORDS)}."),
    "temporal_reference": lambda row, random_: {
        **_choice(row),
        **_said(f"{_still(random_)}. So the answer is B.", "B"),
        "data_type": "video",
    },
    "surplus": lambda row, _: {**row, "problem_id": row["problem_id"] - 1, "sample": 1},
}
"""Rule -> what makes a row break it, and no rule before it."""


def _stage() -> int:
    filter_stage.main()
    return 0


if __name__ == "__main__":
    run_tool(main)
