"""VSI-Bench (huggingface.co/datasets/nyu-visionx/VSI-Bench; scorer: github.com/vision-x-nyu/thinking-in-space).

Files: `test-00000-of-00001.parquet` or `test.jsonl`; subsets `debiased` (`test_debiased.parquet`) and `pruned`
(`test_pruned.parquet`), or the same rows by the `pruned` column. Clips: `{dataset}/{scene_name}.mp4`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.benchmark.base import (
    Annotations,
    Decoding,
    Mark,
    OfficialWording,
    Row,
    Sample,
    Suite,
    SuiteError,
    lettered,
    unlettered,
)
from tasks.benchmark.reading import files

CHOICE = (
    "object_rel_direction_easy",
    "object_rel_direction_medium",
    "object_rel_direction_hard",
    "object_rel_distance",
    "route_planning",
    "obj_appearance_order",
)
NUMBER = ("object_abs_distance", "object_counting", "object_size_estimation", "room_size_estimation")
DIRECTION = "object_rel_direction"
SUBSETS = {"debiased": False, "pruned": True}
_THRESHOLDS = np.linspace(0.5, 0.95, int((0.95 - 0.5) / 0.05 + 2))


def first_word(text: str) -> str:
    """What the scorer reads: up to the first space, without trailing full stops."""
    return text.split(" ")[0].rstrip(".").strip()


def accuracy(prediction: str, truth: str) -> float:
    """1 when the first word is the letter, in either case."""
    return float(first_word(prediction).lower() == truth.lower())


def mean_relative_accuracy(prediction: str, truth: str) -> float:
    """Share of ten thresholds 0.5 .. 0.95 that the relative error meets ("<=", double precision); 0 if no number.

    Raises:
        ZeroDivisionError: the truth is 0, for which the measure is not defined.
    """
    try:
        out = float(first_word(prediction))
    except ValueError:
        return 0.0
    error = abs(out - float(truth)) / float(truth)
    return float(np.mean(error <= 1 - _THRESHOLDS))


def mark(sample: Sample, text: str) -> Mark:
    """Official score of one answer."""
    if sample.options:
        return Mark(accuracy(text, sample.answer), first_word(text), "first word, letter")
    return Mark(mean_relative_accuracy(text, sample.answer), first_word(text), "first word, number")


def coefficients(groups: Sequence[str]) -> dict[str, float]:
    """Weight of each question type in the overall number: eight tasks alike, the three directions sharing one."""
    directions = [group for group in groups if group.startswith(f"{DIRECTION}_")]
    tasks = len(groups) - len(directions) + bool(directions)
    return {group: 1 / tasks / (len(directions) if group in directions else 1) for group in groups}


def word(sample: Sample) -> OfficialWording:
    """Official wording for open models."""
    head = f"These are frames of a video.\n{sample.question}\n"
    if not sample.options:
        return OfficialWording(head + "Please answer the question using a single word or phrase.")
    options = "\n".join(["Options:", *sample.lettered])
    return OfficialWording(f"{head}{options}\nAnswer with the option's letter from the given choices directly.")


def read(folder: Path, subset: str | None = None) -> Annotations:
    """Samples of the annotation folder; `subset` is None, "debiased" or "pruned".

    Raises:
        SuiteError: no annotation file, or another subset.
    """
    if subset is not None and subset not in SUBSETS:
        raise SuiteError(f"vsi_bench: no subset {subset!r}; one of {', '.join(SUBSETS)}")
    own = [f"test_{subset}.parquet"] if subset else []
    paths = files.find(folder, [*own, "test-*.parquet", "test.parquet", "test.jsonl"])
    rows = list(files.rows_of_all(paths))
    if subset is not None and paths[0].name != f"test_{subset}.parquet":
        marked = [row for _, row in rows if isinstance(row, Mapping) and "pruned" in row]
        if not marked:
            raise SuiteError(f"{paths[0]}: no column 'pruned' and no test_{subset}.parquet beside it")
        # A record that does not say where it belongs stays in, to be told as a fault.
        rows = [pair for pair in rows if _pruned(pair[1]) in (None, SUBSETS[subset])]
    return files.collect(rows, _sample, paths)


def _pruned(row: Any) -> bool | None:
    value = row.get("pruned") if isinstance(row, Mapping) else None
    return None if value is None else bool(value)


def _sample(row: Any, where: str) -> Sample:
    kind, truth = files.text(row, "question_type", where), files.text(row, "ground_truth", where)
    options = files.texts(row, "options", where)
    dataset, scene = files.text(row, "dataset", where), files.text(row, "scene_name", where)
    if kind in CHOICE:
        files.letter(truth, options, "ground_truth", where)
    elif kind in NUMBER:
        options = []
        _positive(truth, where)
    else:
        raise SuiteError(f"{where}: question_type: unknown {kind!r}")
    return Sample(
        sample_id=files.text(row, "id", where),
        question=files.text(row, "question", where),
        options=unlettered(options),
        answer=truth,
        categories={"question_type": kind, "dataset": dataset},
        media=(f"{dataset}/{scene}.mp4",),
        cluster=f"{dataset}/{scene}",
        problem_type="multiple choice" if options else "regression",
        solution=truth,
        lettered=lettered(options),
    )


def _positive(truth: str, where: str) -> None:
    try:
        good = 0 < float(truth) < math.inf
    except ValueError:
        good = False
    if not good:
        raise SuiteError(f"{where}: ground_truth: not a positive number: {truth!r}")


def export(rows: Sequence[Row]) -> dict[str, Any]:
    """Samples as lmms-eval logs them, in one JSON array."""
    return {
        "vsibench.json": [
            {
                "id": row["sample_id"],
                "question_type": row["categories"]["question_type"],
                "ground_truth": row["answer"],
                "prediction": row["completion"],
            }
            for row in rows
        ]
    }


_COUNTS = {
    "object_size_estimation": 953,
    "object_abs_distance": 834,
    "object_rel_distance": 710,
    "obj_appearance_order": 618,
    "object_counting": 565,
    "object_rel_direction_medium": 378,
    "object_rel_direction_hard": 373,
    "object_rel_direction_easy": 217,
    "room_size_estimation": 288,
    "route_planning": 194,
}
SUITE = Suite(
    name="vsi_bench",
    title="VSI-Bench",
    read=read,
    word=word,
    mark=mark,
    decoding=Decoding(0.0, 1.0, 16),
    counts={"": _COUNTS},
    counted_by="question_type",
    leaves="question_type",
    coefficients=coefficients,
    combined={DIRECTION: tuple(f"{DIRECTION}_{level}" for level in ("easy", "medium", "hard"))},
    export=export,
)
