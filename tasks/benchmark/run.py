"""All question sets of one model: missing answers are generated, judged and scored, then all logs are summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.benchmark import log, totals
from tasks.benchmark.base import SuiteError
from tasks.benchmark.exports import write_exports
from tasks.benchmark.generate import REFUSED, answer_jobs
from tasks.benchmark.jobs import Job, QuestionSet, plan
from tasks.benchmark.judging import judge_rows, unjudged
from tasks.benchmark.marking import scored
from tasks.benchmark.provenance import describe
from tasks.benchmark.settings import Settings
from tasks.core.engine.types import Engine
from tasks.core.io.atomic import write_json
from tasks.core.io.progress import tracked
from tasks.core.schemas.answers import Numbers

INDEX = "index.json"


class JudgeModel(NamedTuple):
    """A served model that scores answers that no rule can; fields of `params.Judge`."""

    base_url: str
    model: str
    max_tokens: int


class Answerer(NamedTuple):
    """The model that is benchmarked."""

    name: str
    """In params.models."""
    open: Callable[[], Engine]
    """Opens the engine, or returns the open one; not called when nothing is left to ask."""
    backend: str
    """Name of the engine, for the record."""
    batch_size: int
    """Requests at once."""
    judge: JudgeModel | None = None
    """None leaves answers that need a judge without a score."""


def run(sets: Sequence[QuestionSet], settings: Settings, folder: Path, answerer: Answerer) -> Numbers:
    """Bring every log in `folder` up to date and return the numbers.

    Args:
        sets: what to ask; those of one suite and subset share a log.
        settings: what all jobs share.
        folder: the model's log folder.
        answerer: the model and its engine.

    Raises:
        SuiteError: a suite is named twice under one protocol.
        EngineError: the engine or the judge failed for good; answers so far are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described: list[dict[str, Any]] = []
    logs = by_log(sets, folder)

    def rows_of_logs() -> Iterator[list[dict[str, Any]]]:
        for path, of_log in logs.items():
            planned = [list(plan(questions, settings)) for questions in of_log]
            yield update(path, planned, settings, answerer)
            judge = answerer.judge and answerer.judge.model
            for questions, groups in zip(of_log, planned, strict=True):
                missing = {job.sample.sample_id for group in groups for job in group if job.path is None}
                described.append(describe(questions, settings, answerer.backend, judge, len(missing)))

    numbers = totals.numbers(answerer.name, rows_of_logs(), described)
    tidy(folder, logs)
    write_json(folder / INDEX, {"model": answerer.name, "question_sets": described})
    write_exports(folder, numbers)
    return numbers


def by_log(sets: Iterable[QuestionSet], folder: Path) -> dict[Path, list[QuestionSet]]:
    """Question sets by the log that holds their answers."""
    logs: dict[Path, list[QuestionSet]] = {}
    for questions in sets:
        path = log.path_of(folder, questions.suite.name, questions.subset)
        if any(other.protocol is questions.protocol for other in logs.get(path, [])):
            raise SuiteError(f"benchmark.suites: {path.stem} comes twice")
        logs.setdefault(path, []).append(questions)
    return logs


def update(
    path: Path, planned: Sequence[Sequence[list[Job]]], settings: Settings, answerer: Answerer
) -> list[dict[str, Any]]:
    """Rows of one log's jobs, in order; missing answers are generated and logged."""
    have = log.read(path)
    left = [lacking(groups, have) for groups in planned]
    total = sum(len(group) for groups in left for group in groups)
    if total:
        if have:
            print(f"{answerer.name} {path.stem}: {total} answers to get, the others are in the log")
        with tracked(total=total, desc=f"{answerer.name} {path.stem}", unit="answer", mininterval=1.0) as progress:
            for groups in filter(None, left):
                answers = answer_jobs(answerer.open(), groups, settings, answerer.batch_size)
                marked = ([_marked(row, answerer.name, settings) for row in batch] for batch in answers)
                for batch in log.append(path, marked):
                    have |= {row["key"]: row for row in batch}
                    progress.update(len(batch))
    wanted = list(dict.fromkeys(job.key for groups in planned for group in groups for job in group))
    judge = answerer.judge
    if judge is not None and (open_rows := unjudged([have[key] for key in wanted], judge.model)):
        for batch in log.append(path, judge_rows(open_rows, **judge._asdict())):
            have |= {row["key"]: row for row in batch}
    rows = [_marked(have[key], answerer.name, settings) for key in wanted]
    if unwanted := len(have.keys() - set(wanted)):
        print(f"{answerer.name} {path.stem}: {unwanted} answers removed that the parameters no longer ask for")
    log.settle(path, rows)
    return rows


def _marked(row: Mapping[str, Any], model: str, settings: Settings) -> dict[str, Any]:
    return scored({**row, "model": model}, settings.reward_variant)


def lacking(groups: Iterable[list[Job]], have: Mapping[str, Any]) -> list[list[Job]]:
    """Jobs without an answer, grouped by sample; refused requests are asked again."""
    left = (
        [job for job in group if job.key not in have or have[job.key]["error_class"] == REFUSED] for group in groups
    )
    return [group for group in left if group]


def tidy(folder: Path, logs: Iterable[Path]) -> None:
    """Remove logs of suites that the parameters no longer name."""
    for path in sorted(set(log.logs_in(folder)) - set(logs)):
        print(f"{path}: removed, the parameters no longer ask for it")
        path.unlink()
