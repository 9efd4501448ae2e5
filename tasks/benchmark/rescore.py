"""Old logs under the present scoring rules: nothing is generated, and nothing of an answer changes but its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.benchmark import suite_log
from tasks.benchmark.exports import write_exports
from tasks.benchmark.marking import scored
from tasks.benchmark.score import score_all
from tasks.benchmark.totals import controls, entries
from tasks.core.io.errors import StageError
from tasks.core.schemas.records import Record

RAW = ("problem_id", "view", "prompt", "completion", "finish_reason", "tokens", "error")
"""What of a test split's row is the answer itself."""


def rescore_test(
    model: str, records: Sequence[Record], rows: Sequence[Mapping[str, Any]], variant: str
) -> list[dict[str, Any]]:
    """Rows of the test split, scored again.

    Raises:
        StageError: an answer belongs to no test record; names it.
    """
    known = {record.problem_id for record in records}
    for row in rows:
        if row["problem_id"] not in known:
            raise StageError(f"log of {model}: problem_id {row['problem_id']} is no question of the test split")
    return score_all(model, records, [{name: row[name] for name in RAW} for row in rows], variant)


def rescore_suites(folder: Path, model: str, sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Score every log in the folder again, in place, and return the numbers with `sources` as they were.

    Raises:
        StageError: a benchmark of `sources` has no log.
    """
    made: dict[str, Any] = {"entries": [], "controls": [], "sources": list(sources)}
    order = list(dict.fromkeys((one["benchmark"], one["subset"]) for one in sources))
    for benchmark, subset in order:
        path = suite_log.path_of(folder, benchmark, subset)
        if not path.is_file():
            raise StageError(f"{path}: no such log; run `dvc repro benchmark@{model}` first")
        rows = [scored(row) for row in suite_log.read(path).values()]
        suite_log.settle(path, rows)
        made["entries"] += entries(rows)
        made["controls"] += controls(rows)
    write_exports(folder, model, made["entries"], sources)
    return made
