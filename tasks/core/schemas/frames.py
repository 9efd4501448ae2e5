"""Tables as expectations look at them: columns of the schema, and derived ones that say per row if a rule holds.

Tables come in pieces of their schemas (types and missing columns are settled when they are read) and are looked at
piece by piece; only what a check compares over a whole table, ids and hashes, is held for all of it. Lists stay out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.schemas.records import truth_of
from tasks.core.text.options import is_letter_of
from tasks.core.text.tags import answer_of, is_well_formed

Row = Mapping[str, Any]
_RECORD = ("problem_id", "problem", "data_type", "problem_type", "process", "solution", "path")
_REASONED = ("problem", "path", "process")
_ASKED = ("problem", "options", "path", "data_type")
_SPLITS = ("train", "rl", "test")
_NUMBER_TYPES = ("numerical", "regression")
ROWS_READ = 1 << 13
"""Rows of a table looked at together: long texts, which the frames leave out, are in memory for these."""
_ROWS_CHECKED = 1 << 16
"""Rows of a piece of a frame: fewer would take longer to check."""


class Shards:
    """A frame in pieces, made anew each time it is looked through; one at a time is in memory."""

    def __init__(self, make: Callable[[], Iterator[pd.DataFrame]]) -> None:
        self._make = make
        self.rows = 0
        """Rows of the last look through."""

    def __iter__(self) -> Iterator[pd.DataFrame]:
        self.rows = 0
        for shard in self._make():
            self.rows += len(shard)
            yield shard


def whole(frame: pd.DataFrame) -> Shards:
    """A small frame in one piece."""
    return Shards(lambda: iter([frame]))


class Parts(Protocol):
    """A table in pieces, anew at each call."""

    def __call__(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The pieces, whole or with some columns: what is not asked for is not read."""


def records_frames(tables: Mapping[str, Parts], manifest: Parts, quarantine: Parts) -> dict[str, Shards]:
    """Frames of the gate `records` from the tables of ingest, by split.

    Of whole tables only numbers are held: ids, and hashes of media and of the test split's questions. They are made
    with the first piece that needs them, in the process that makes the pieces.
    """
    known = cache(lambda: _known(tables, manifest))
    return {
        "records": Shards(
            lambda: chain.from_iterable(
                _gathered(_records_shard(split, part, *known()) for part in parts()) for split, parts in tables.items()
            )
        ),
        "ids": Shards(
            lambda: _in_one(_ids(split, part) for split, parts in tables.items() for part in parts(["problem_id"]))
        ),
        "manifest": Shards(lambda: _gathered(map(_manifest_shard, manifest()))),
        "files": Shards(lambda: _in_one(part.to_pandas() for part in manifest(["path", "data_type"]))),
        "quarantine": Shards(lambda: _gathered(part.to_pandas() for part in quarantine())),
        "tables": Shards(lambda: iter([_counts(tables, quarantine)])),
    }


def _known(tables: Mapping[str, Parts], manifest: Parts) -> tuple[dict[int, int], set[int]]:
    """Digests of media, and which of the test split's questions are in another table."""
    digests = _digests(manifest)
    asked = (
        {question for part in tables["test"](_ASKED) for question in _questions(part, digests)}
        if "test" in tables
        else set()
    )
    trained = {
        question
        for split, parts in tables.items()
        if split != "test"
        for part in parts(_ASKED)
        for question in _questions(part, digests)
        if question in asked
    }
    return digests, trained


def _counts(tables: Mapping[str, Parts], quarantine: Parts) -> pd.DataFrame:
    """Rows of every table, and of the quarantine with its share of all rows."""
    counts = {name: _length(parts, "problem_id") for name, parts in tables.items()}
    lost = _length(quarantine, "row")
    total = sum(counts.values()) + lost
    rows = [{"name": name, "kind": "table", "rows": rows, "share": 0.0} for name, rows in counts.items()]
    rows.append({"name": "quarantine", "kind": "quarantine", "rows": lost, "share": lost / total if total else 0.0})
    return framed(rows, ("name", "kind", "rows", "share"))


def cot_frames(parts: Parts) -> dict[str, Shards]:
    """Frames of the gate `cot`."""
    return {
        "cot": Shards(lambda: _gathered(map(_cot_shard, parts()))),
        **_whole_frames(parts, ["problem_id", "sample"]),
    }


def sft_frames(parts: Parts, rejected: Parts) -> dict[str, Shards]:
    """Frames of the gate `sft` from the tables of filter, which may keep several samples of a question."""

    def texts() -> Iterator[pd.DataFrame]:
        yield from _in_one(map(_text_hashes, parts(["problem_id", *_REASONED])))

    return {
        "sft": Shards(lambda: _gathered(map(_sft_shard, parts()))),
        "texts": Shards(texts),
        "rejected": Shards(lambda: _gathered(map(_rejected_shard, rejected()))),
        "tables": _row_count(parts),
    }


def _text_hashes(part: pa.Table) -> pd.DataFrame:
    hashes = list(map(hash, zip(*_columns(part, *_REASONED), strict=True)))
    return pd.DataFrame({"problem_id": part.column("problem_id").to_numpy(), "text": np.array(hashes, dtype=np.int64)})


def _whole_frames(parts: Parts, key: list[str]) -> dict[str, Shards]:
    """Frames of a table as a whole: the columns that name a row, and the number of rows."""
    return {
        "ids": Shards(lambda: _in_one(part.to_pandas() for part in parts(key))),
        "tables": _row_count(parts),
    }


def _row_count(parts: Parts) -> Shards:
    return Shards(lambda: iter([framed([{"name": "rows", "rows": _length(parts, "problem_id")}], ("name", "rows"))]))


def _length(parts: Parts, column: str) -> int:
    return sum(map(len, parts([column])))


def _in_one(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    yield pd.concat(list(frames), ignore_index=True)


def _gathered(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same rows in larger pieces."""
    held: list[pd.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(map(len, held)) >= _ROWS_CHECKED:
            yield from _in_one(held)
            held = []
    if held:
        yield from _in_one(held)


def _records_shard(split: str, part: pa.Table, digests: Mapping[int, int], trained: set[int]) -> pd.DataFrame:
    frame = _record_shard(part)
    options, solutions, types = _columns(part, "options", "solution", "problem_type")
    media = zip(*_columns(part, "path", "data_type"), strict=True)
    return frame.assign(
        split=split,
        row_name=[f"{split} {number}" for number in frame["problem_id"]],
        medium_ok=[hash(medium) in digests for medium in media],
        truth_is_option=[
            kind != "multiple choice" or is_letter_of(truth_of(solution), listed)
            for kind, solution, listed in zip(types, solutions, options, strict=True)
        ],
        truth_has_digit=[
            kind not in _NUMBER_TYPES or any(map(str.isdigit, solution))
            for kind, solution in zip(types, solutions, strict=True)
        ],
        unseen=[question not in trained for question in _questions(part, digests)] if split == "test" else True,
    )


def _cot_shard(part: pa.Table) -> pd.DataFrame:
    completions, answers, finished, errors = _columns(part, "completion", "answer", "finish_reason", "error")
    rewards = part.column("reward").to_numpy()
    return _record_shard(part).assign(
        reward_is_share=(rewards >= 0) & (rewards <= 1),
        sample=part.column("sample").to_numpy(),
        finish_reason=finished,
        error_iff_failed=[(reason == "error") == bool(error) for reason, error in zip(finished, errors, strict=True)],
        answered=[reason != "error" and bool(text.strip()) for reason, text in zip(finished, completions, strict=True)],
        answer_matches=[answer == (answer_of(text) or "") for answer, text in zip(answers, completions, strict=True)],
        well_formed=[is_well_formed(text) for text in completions],
    )


def _sft_shard(part: pa.Table) -> pd.DataFrame:
    processes, solutions = _columns(part, "process", "solution")
    rewards = part.column("reward").to_numpy()
    return _record_shard(part).assign(
        reward_is_share=(rewards >= 0) & (rewards <= 1),
        well_formed=[
            is_well_formed(f"{process}\n{solution}") for process, solution in zip(processes, solutions, strict=True)
        ],
    )


def _rejected_shard(part: pa.Table) -> pd.DataFrame:
    """Rejected rows under the names that tell samples of a question apart."""
    rewards = part.column("reward").to_numpy()
    numbers, samples, rules, broken = _columns(part, "problem_id", "sample", "rule", "rules")
    return pd.DataFrame(
        {
            "row_name": [f"{number} sample {sample}" for number, sample in zip(numbers, samples, strict=True)],
            "rule": rules,
            "rule_is_first": [bool(names) and names[0] == rule for rule, names in zip(rules, broken, strict=True)],
            "reward_is_share": (rewards >= 0) & (rewards <= 1),
        }
    )


def _manifest_shard(part: pa.Table) -> pd.DataFrame:
    """Facts of media; `times_agree`: frames over rate come to the duration, within a frame and a tenth of it."""
    frame = part.to_pandas()
    seconds = frame["frames"] / frame["fps"]
    slack = 1 / frame["fps"] + 0.1 * frame["duration_seconds"]
    is_timed = (frame["status"] == "ok") & (frame["data_type"] == "video")
    return frame.assign(times_agree=~is_timed | ((seconds - frame["duration_seconds"]).abs() <= slack))


def _record_shard(part: pa.Table) -> pd.DataFrame:
    counts = pc.list_value_length(part.column("options")).to_numpy()
    return part.select(list(_RECORD)).to_pandas().assign(n_options=counts)


def _ids(split: str, part: pa.Table) -> pd.DataFrame:
    numbers = part.column("problem_id").to_numpy()
    splits = pd.Categorical([split] * len(numbers), _SPLITS)
    return pd.DataFrame(
        {"split": splits, "problem_id": numbers, "row_name": [f"{split} {number}" for number in numbers]}
    )


def _digests(manifest: Parts) -> dict[int, int]:
    """Hash of path and use of every medium that decodes -> hash of its content."""
    columns = ("path", "data_type", "sha256", "status")
    return {
        hash((path, data_type)): hash(sha256)
        for part in manifest(columns)
        for path, data_type, sha256, status in zip(*_columns(part, *columns), strict=True)
        if status == "ok"
    }


def _questions(part: pa.Table, digests: Mapping[int, int]) -> list[int]:
    """What is asked about which pixels, as numbers; files are told apart by content, not by name."""
    return [
        hash((problem, *options, digests.get(hash((path, data_type)), path)))
        for problem, options, path, data_type in zip(*_columns(part, *_ASKED), strict=True)
    ]


def _columns(part: pa.Table, *names: str) -> list[list[Any]]:
    return [part.column(name).to_pylist() for name in names]


def framed(rows: Sequence[Row], columns: Sequence[str]) -> pd.DataFrame:
    """Columns in this order, present also when there are no rows."""
    return pd.DataFrame([[row[name] for name in columns] for row in rows], columns=list(columns))
