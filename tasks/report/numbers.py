"""The benchmark's numbers (`reports/benchmark/<model>.json`), and what the tables need of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.core.io.documents import read_json
from tasks.core.io.errors import StageError
from tasks.core.schemas.answers import NO_FRAMES, TEST_SPLIT, Control, Entry, Numbers, numbers_of
from tasks.core.stats import Estimate, Paired, paired

NOTHING = Estimate(0, 0, None, None, None, None)
KINDS = ("temporal", "static")
"""Groups of the test split's grouping `time`: whether only the order of frames answers a question."""
ByModel = Mapping[str, Numbers]
"""Model -> its numbers; a model that was not run is absent."""
Row = Mapping[str, Any]
"""A row of the answer log."""


class Asked(NamedTuple):
    """A suite under one protocol at one frame cap, on ordered frames."""

    benchmark: str
    subset: str
    protocol: str
    frames: int


def read_numbers(folder: Path) -> dict[str, Numbers]:
    """Numbers of every model that was run; one that was left out has a file without entries.

    Raises:
        StageError: there are none, or a file is not what the benchmark writes; names file and field.
    """
    files = sorted(folder.glob("*.json"))
    every = (parsed(read_json(file), str(file)) for file in files)
    run = {numbers.model: numbers for numbers in every if numbers.entries}
    if not run:
        raise StageError(f"{folder}: no benchmark results; run `dvc repro benchmark` first")
    return run


def parsed(raw: Mapping[str, Any], where: str) -> Numbers:
    """Numbers of one file.

    Raises:
        StageError: a field is absent or of the wrong type.
    """
    try:
        return numbers_of(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"not a benchmark report: {type(error).__name__}: {error}"
        raise StageError(f"{where}: {reason}; run `dvc repro benchmark` first") from error


def in_order(numbers: ByModel, models: Iterable[str]) -> dict[str, Numbers]:
    """Numbers in the order of `models`; others after them by name."""
    named = [model for model in models if model in numbers]
    return {model: numbers[model] for model in [*named, *sorted(set(numbers) - set(named))]}


def main_cap(numbers: ByModel, frames: int) -> int:
    """Frame cap of the test split that the main tables show: `frames` if it was run, else the largest one."""
    caps = {entry.frames for each in numbers.values() for entry in each.entries if is_split(entry)} - {NO_FRAMES}
    return frames if frames in caps or not caps else max(caps)


def is_split(entry: Entry | Control) -> bool:
    """Whether an entry is about the test split."""
    return entry.benchmark == TEST_SPLIT


def split_entry(numbers: Numbers | None, cap: int, view: str = "ordered") -> Entry | None:
    """Entry of the test split on a view; None if it was not run."""
    wanted = NO_FRAMES if view == "no_video" else cap
    entries = numbers.entries if numbers else []
    return next((each for each in entries if is_split(each) and (each.frames, each.view) == (wanted, view)), None)


def split_controls(numbers: Numbers, cap: int) -> list[Control]:
    """Controls of the test split."""
    return [control for control in numbers.controls if is_split(control) and control.frames == cap]


def kind_of(entry: Entry | None, kind: str) -> Estimate:
    """Estimate of "overall", "temporal" or "static" questions; `NOTHING` where there are none."""
    if entry is None:
        return NOTHING
    return entry.overall if kind == "overall" else entry.groups.get("time", {}).get(kind, NOTHING)


def split_rows(log: Sequence[Row], cap: int, view: str) -> dict[int, Row]:
    """Rows of the test split's log on one view, by problem id."""
    wanted = NO_FRAMES if view == "no_video" else cap
    return {int(row["sample_id"]): row for row in log if (row["frames"], row["view"]) == (wanted, view)}


def gain(log: Sequence[Row], other: Sequence[Row], cap: int) -> Paired | None:
    """How much better one model's log is than another's on ordered frames and temporal questions, question by question.

    None where they have no scored question in common.
    """
    first, second = (
        {
            problem_id: row
            for problem_id, row in split_rows(rows, cap, "ordered").items()
            if row["pipeline"] is not None and row["categories"]["time"] == "temporal"
        }
        for rows in (log, other)
    )
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    return paired(
        [first[problem_id]["pipeline"] for problem_id in common],
        [second[problem_id]["pipeline"] for problem_id in common],
        [first[problem_id]["cluster"] for problem_id in common],
    )


def headline(numbers: Numbers, cap: int) -> dict[str, float]:
    """The few numbers of a model that `dvc metrics show` sets side by side: scores and a share in [0, 1].

    A view that was not run, or a kind of question that was not asked, has no key.
    """
    ordered = split_entry(numbers, cap)
    figures = {kind: kind_of(ordered, kind).value for kind in ("overall", *KINDS)}
    figures |= {
        "well_formed": ordered.well_formed if ordered else None,
        "temporal_shuffled": kind_of(split_entry(numbers, cap, "shuffled"), "temporal").value,
        "no_video": kind_of(split_entry(numbers, cap, "no_video"), "overall").value,
    }
    return {name: round(value, 4) for name, value in figures.items() if value is not None}


def by_asked(numbers: ByModel) -> dict[Asked, dict[str, Entry]]:
    """Entries on ordered frames: what was asked -> model -> entry."""
    made: dict[Asked, dict[str, Entry]] = defaultdict(dict)
    for model, of_model in numbers.items():
        for entry in of_model.entries:
            if entry.view == "ordered":
                made[Asked(entry.benchmark, entry.subset, entry.protocol, entry.frames)][model] = entry
    return dict(sorted(made.items()))


def sets(numbers: ByModel) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """(benchmark, subset, protocol) -> what was read, of the first model that has it."""
    made: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for of_model in numbers.values():
        for questions in of_model.question_sets:
            made.setdefault((questions["benchmark"], questions["subset"], questions["protocol"]), questions)
    return made


def title(about: Mapping[tuple[str, ...], Mapping[str, Any]], what: Sequence[Any] | Control) -> str:
    """Name of a suite as shown."""
    key = (what.benchmark, what.subset, what.protocol) if isinstance(what, Control) else tuple(what[:3])
    questions = about[key]
    return str(questions["title"]) + (f", {questions['subset']}" if questions["subset"] else "")
