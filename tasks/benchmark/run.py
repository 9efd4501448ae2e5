"""All public benchmarks of one model: what the log lacks is asked, judged and scored, then the log is summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from tasks.benchmark import suite_log
from tasks.benchmark.exports import write_exports
from tasks.benchmark.generate import answer_jobs
from tasks.benchmark.jobs import Job, Settings, Source, open_source, plan
from tasks.benchmark.judging import judge_rows, unjudged
from tasks.benchmark.marking import scored
from tasks.benchmark.provenance import describe
from tasks.benchmark.suites.base import SuiteError
from tasks.benchmark.totals import controls, entries
from tasks.core.engine.base import Engine
from tasks.core.io.atomic import write_json

INDEX = "index.json"


class Grader(NamedTuple):
    """Judge model; the fields of `params.Judge`."""

    base_url: str
    model: str
    max_tokens: int


def run_suites(
    runs: Sequence[Mapping[str, Any]],
    settings: Settings,
    folder: Path,
    engine: Callable[[], Engine],
    *,
    model: str,
    backend: str,
    batch_size: int,
    grader: Grader | None,
) -> dict[str, Any]:
    """Bring every log in `folder` up to date and return the numbers.

    Args:
        runs: fields of `params.SuiteRun`, one mapping per benchmark.
        settings: what all jobs share.
        folder: the model's log folder.
        engine: opens the engine, or gives the open one; not called when nothing is left to ask.
        model: name of the model.
        backend: name of the engine, for the record.
        batch_size: requests at once.
        grader: judge model; None leaves judged parts without a score.

    Raises:
        SuiteError: no usable annotation file, or a benchmark named twice.
        EngineError: the engine or the judge is beyond recovery; what was answered is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logs: dict[Path, list[Source]] = {}
    for run in runs:
        path = suite_log.path_of(folder, run["name"], run["subset"] or "")
        if path in logs:
            raise SuiteError(f"benchmark.suites: {path.stem} comes twice")
        rest = {name: value for name, value in run.items() if name != "protocols"}
        logs[path] = [open_source(protocol, **rest) for protocol in run["protocols"]]
    made: dict[str, Any] = {"entries": [], "controls": [], "sources": []}
    for path, sources in logs.items():
        planned = [list(plan(source, settings)) for source in sources]
        rows = update(path, planned, settings, engine, model=model, batch_size=batch_size, grader=grader)
        summed = summary(rows)
        made = {name: made[name] + summed.get(name, []) for name in made}
        for source, groups in zip(sources, planned, strict=True):
            missing = {job.sample.sample_id for group in groups for job in group if job.path is None}
            made["sources"].append(describe(source, settings, backend, grader and grader.model, len(missing)))
    tidy(folder, logs)
    write_json(folder / INDEX, {"model": model, "sources": made["sources"]})
    write_exports(folder, model, made["entries"], made["sources"])
    return made


def update(
    path: Path,
    planned: Sequence[Sequence[list[Job]]],
    settings: Settings,
    engine: Callable[[], Engine],
    *,
    model: str,
    batch_size: int,
    grader: Grader | None,
) -> list[dict[str, Any]]:
    """Rows of one benchmark's jobs, in their order: from the log, or asked now and logged."""
    have = suite_log.read(path)
    left = [lacking(groups, have) for groups in planned]
    total = sum(len(group) for groups in left for group in groups)
    if total:
        if have:
            print(f"{model} {path.stem}: {total} answers to get, the others are in the log")
        with tqdm(total=total, desc=f"{model} {path.stem}", unit="answer", mininterval=1.0) as progress:
            for groups in filter(None, left):
                batches = (list(map(scored, batch)) for batch in answer_jobs(engine(), groups, settings, batch_size))
                for batch in suite_log.append(path, batches):
                    have |= {row["key"]: row for row in batch}
                    progress.update(len(batch))
    wanted = list(dict.fromkeys(job.key for groups in planned for group in groups for job in group))
    if grader is not None and (open_rows := unjudged([have[key] for key in wanted], grader.model)):
        for batch in suite_log.append(path, judge_rows(open_rows, **grader._asdict())):
            have |= {row["key"]: row for row in batch}
    rows = [scored(have[key]) for key in wanted]
    suite_log.settle(path, rows)
    return rows


def lacking(groups: Iterable[list[Job]], have: Mapping[str, Any]) -> list[list[Job]]:
    """Jobs without an answer, still by sample; groups without any are left out."""
    left = ([job for job in group if job.key not in have] for group in groups)
    return [group for group in left if group]


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers of one log."""
    return {"entries": entries(rows), "controls": controls(rows)}


def tidy(folder: Path, logs: Iterable[Path]) -> None:
    """Remove logs of benchmarks that are not run any more: the folder is what the parameters say."""
    for path in set(suite_log.logs_in(folder)) - set(logs):
        path.unlink()
