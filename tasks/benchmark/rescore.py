"""Old logs under the present scoring rules: nothing is generated, only scores change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.benchmark import log, totals
from tasks.benchmark.exports import write_exports
from tasks.benchmark.marking import scored
from tasks.core.io.errors import StageError
from tasks.core.schemas.answers import Numbers


def rescore(folder: Path, model: str, described: list[dict[str, Any]], variant: str) -> Numbers:
    """Score every log in the folder again, in place; return the numbers.

    Args:
        folder: the model's log folder.
        model: its name.
        described: question sets of the run (`Numbers.question_sets`).
        variant: reward variant of the protocol `pipeline`.

    Raises:
        StageError: a suite of `described` has no log.
    """

    def rows_of_logs() -> Iterator[list[dict[str, Any]]]:
        for suite, subset in dict.fromkeys((questions["benchmark"], questions["subset"]) for questions in described):
            path = log.path_of(folder, suite, subset)
            if not path.is_file():
                raise StageError(f"{path}: no such log; run `dvc repro benchmark@{model}` first")
            rows = [scored(row, variant) for row in log.read(path).values()]
            log.settle(path, rows)
            yield rows

    numbers = totals.numbers(model, rows_of_logs(), described)
    write_exports(folder, numbers)
    return numbers
