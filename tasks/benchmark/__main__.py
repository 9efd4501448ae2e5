"""`python -m tasks.benchmark MODEL`: one model of params.models on the test split and the public benchmarks.

Interrupted, it goes on. `rescore [MODEL ..]` applies the present scoring rules to old logs, without generating.
`compare A B` sets two models' logs against each other, question by question.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks import params, paths
from tasks.benchmark.aggregate import aggregate
from tasks.benchmark.answer import answer_all, views_of
from tasks.benchmark.compare import compare, lines, rows_of
from tasks.benchmark.jobs import Settings
from tasks.benchmark.media import Sampling
from tasks.benchmark.rescore import rescore_suites, rescore_test
from tasks.benchmark.score import score_all
from tasks.benchmark.suite_run import Grader, run_suites
from tasks.benchmark.suites.base import Decoding
from tasks.core.engine.endpoint import is_endpoint
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import Engine, EngineError
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import run_stage
from tasks.core.io.digests import code_digests, file_digest, folder_digest, media_digest, work_key
from tasks.core.io.errors import StageError
from tasks.core.io.jsonl import read_jsonl
from tasks.core.io.tables import read_table
from tasks.core.io.work import Work, WorkLog, begin_work, find_work
from tasks.core.models.load import checkpoint_digest, frame_shape_in
from tasks.core.schemas.records import RECORD_SCHEMA, Record, record_from_row, truth_of
from tasks.core.video import open_clip, tell_cache

COMMANDS = ("rescore", "compare")
OpenEngine = Callable[[], Engine]

ASKING = ("backbones", "engine", "models", "prompts", "text", "video")
"""Packages of `core` that decide an answer before it is scored."""


def main() -> int:
    """Benchmark one model of the params file, or do what the first word says."""
    arguments = parse_arguments()
    config = params.load()
    if arguments.what == "rescore":
        run = [name for name in config.models if paths.metrics("benchmark", name).exists()]
        for name in arguments.models or run:
            rescore(config, name)
    elif arguments.what == "compare":
        compare_models(config, *arguments.models)
    else:
        benchmark(config, arguments.what)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", help="name of a model in params.models, or one of: rescore, compare")
    parser.add_argument("models", nargs="*", help="rescore: models, all if none is named; compare: two models")
    arguments = parser.parse_args()
    if arguments.what == "compare" and len(arguments.models) != 2:
        parser.error("compare takes two models")
    if arguments.what not in COMMANDS and arguments.models:
        parser.error(f"unrecognized arguments: {' '.join(arguments.models)}")
    return arguments


def benchmark(config: params.Params, name: str) -> None:
    """Run what is left of one model's benchmarks and write its logs and numbers."""
    folder = folder_of(config, name)
    with ExitStack() as stack:
        opened: list[Engine] = []

        def engine() -> Engine:
            if not opened:
                opened.append(stack.enter_context(open_engine(model_path=folder, **config.engine.model_dump())))
            return opened[0]

        rows, log = test_rows(config, name, folder, engine)
        summary = aggregate(name, rows)
        if rows and summary["errors"] == len(rows):
            raise EngineError(f"none of {len(rows)} questions could be put to {name}; first: {rows[0]['error']}")
        suites = suite_numbers(config, name, folder, engine)
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_text(paths.predictions(name), text)
    if config.benchmark.suites:
        summary["suites"] = suites
    write_json(paths.metrics("benchmark", name), summary)
    log.finish()
    report(summary)
    tell_cache(name)


def test_rows(
    config: params.Params, name: str, folder: Path, engine: OpenEngine
) -> tuple[list[dict[str, Any]], WorkLog]:
    """Scored rows of the test split, and the log of the work in progress that they came from."""
    records = [record_from_row(row) for row in read_table(paths.TEST_RECORDS, RECORD_SCHEMA)][: config.benchmark.rows]
    log = WorkLog(begin_work(work_of(config, name, folder, records)))
    answers = log.rows()
    answered = {row["problem_id"] for row in answers}
    left = [record for record in records if record.problem_id not in answered]
    if answers and left:
        print(f"resuming: {len(answered)} of {len(records)} questions are done")
    if left:
        answers += generate(config, name, engine(), left, log)
    return score_all(name, records, answers, config.benchmark.reward_variant), log


def suite_numbers(config: params.Params, name: str, folder: Path, engine: OpenEngine) -> dict[str, Any]:
    """Numbers of the public benchmarks of params.benchmark.suites."""
    section = config.benchmark
    return run_suites(
        [suite.model_dump() for suite in section.suites],
        settings_of(config, folder),
        paths.suite_logs(name),
        engine,
        model=name,
        backend="openai" if is_endpoint(folder) else config.engine.backend,
        batch_size=config.engine.batch_size,
        grader=None if section.judge is None else Grader(**section.judge.model_dump()),
    )


def settings_of(config: params.Params, folder: Path) -> Settings:
    """What all jobs of the public benchmarks share; scoring code is no part of their keys."""
    section, video = config.benchmark, config.video.sampling()
    if section.max_pixels is not None:
        video |= {"max_pixels": section.max_pixels, "min_pixels": min(video["min_pixels"], section.max_pixels)}
    here = Path(__file__).parent
    asking = [here.parent / "core" / name for name in ASKING]
    config_key = work_key(
        model=model_digest(folder),
        engine=config.engine.deciding(),
        code=[
            folder_digest(*asking),
            *(file_digest(here / f"{name}.py") for name in ("generate", "jobs", "media", "answer")),
        ],
    )
    return Settings(
        config=config_key,
        template=config.prompt.template,
        system=config.prompt.system,
        seed=config.seed,
        views=tuple(section.views),
        frames=tuple(sorted(set(section.frames))),
        sampling=Sampling(**video, **frame_shape_in(folder)._asdict()),
        decoding=Decoding(**section.sampling.model_dump()),
        official_max_tokens=section.official_max_tokens,
        decode_workers=config.video.decode_workers,
        disk_cache_gb=config.video.disk_cache_gb,
        read_limit_seconds=config.video.read_limit_seconds,
    )


def rescore(config: params.Params, name: str) -> None:
    """Apply the present scoring rules to a model's logs and write its numbers anew."""
    folder_of(config, name)
    target = paths.metrics("benchmark", name)
    if not target.exists():
        raise StageError(f"{target}: {name} was not benchmarked; run `dvc repro benchmark@{name}` first")
    old = json.loads(target.read_text())
    records = [record_from_row(row) for row in read_table(paths.TEST_RECORDS, RECORD_SCHEMA)]
    rows = rescore_test(name, records, read_jsonl(paths.predictions(name)), config.benchmark.reward_variant)
    write_text(paths.predictions(name), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    summary = aggregate(name, rows)
    if "suites" in old:
        summary["suites"] = rescore_suites(paths.suite_logs(name), name, old["suites"]["sources"])
    write_json(target, summary)
    report(summary)


def compare_models(config: params.Params, first: str, second: str) -> None:
    """Compare two models' logs; print the outcome and write it with every changed answer."""
    truths = {}
    if paths.TEST_RECORDS.exists():
        table = [record_from_row(row) for row in read_table(paths.TEST_RECORDS, RECORD_SCHEMA)]
        truths = {record.problem_id: (record.problem, truth_of(record.solution)) for record in table}
    logs = []
    for name in (first, second):
        folder_of(config, name)
        logs.append(rows_of(paths.suite_logs(name), read_jsonl(paths.predictions(name)), truths))
    made = compare(logs[0], logs[1], (first, second))
    target = paths.comparison(first, second)
    write_json(target, made)
    print("\n".join(lines(made)))
    print(f"\nevery changed answer: {target}")


def folder_of(config: params.Params, name: str) -> Path:
    """Checkpoint folder of a model.

    Raises:
        StageError: the name is not in params.models.
    """
    if name in config.models:
        return Path(config.models[name])
    near = difflib.get_close_matches(name, config.models, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; models: {', '.join(config.models)}"
    raise StageError(f"{paths.PARAMS}: no model '{name}'{hint}")


def generate(
    config: params.Params, name: str, engine: Engine, left: list[Record], log: WorkLog
) -> list[dict[str, Any]]:
    """Answer the questions that are left, logging each batch as it comes."""
    views = config.benchmark.views
    total = sum(len(views_of(record, views)) for record in left)
    answers: list[dict[str, Any]] = []
    with tqdm(total=total, desc=f"benchmark {name}", unit="answer", mininterval=1.0) as progress:
        for batch in answer_all(
            engine,
            left,
            partial(open_clip, **config.video.opening(), **frame_shape_in(folder_of(config, name))._asdict()),
            decode_workers=config.video.decode_workers,
            views=views,
            batch_size=config.engine.batch_size,
            **config.prompt.model_dump(),
            seed=config.seed,
            **config.benchmark.sampling.model_dump(),
        ):
            log.append(batch)
            answers += batch
            progress.update(len(batch))
    return answers


def work_of(config: params.Params, name: str, folder: Path, records: list[Record]) -> Work:
    """The work in progress: keyed by everything that an answer depends on."""
    here = Path(__file__).parent
    inputs = {
        **config.model_dump(include={"seed", "prompt"}),
        "engine": config.engine.deciding(),
        "video": config.video.sampling(),
        "benchmark": config.benchmark.model_dump(include={"sampling", "rows", "views", "reward_variant"}),
        "files": {
            str(paths.TEST_RECORDS): file_digest(paths.TEST_RECORDS),
            str(paths.MEDIA): media_digest(record.path for record in records),
            str(folder): model_digest(folder),
        },
        "code": code_digests(here, *(here.parent / "core" / name for name in ASKING)),
    }
    return find_work(paths.WORK_DATA / "benchmark" / name, "benchmark", inputs)


def model_digest(folder: Path) -> str:
    """What names a model's weights: its folder's contents, or its endpoint file's."""
    if not is_endpoint(folder):
        return checkpoint_digest(folder)
    if not folder.is_file():
        raise StageError(f"{folder}: no such endpoint file")
    return file_digest(folder)


def report(summary: dict[str, Any]) -> None:
    """Print one line per view of the test split and per public benchmark."""
    for view, numbers in summary["views"].items():
        overall = numbers["overall"]
        share = "-" if overall["accuracy"] is None else f"{100 * overall['accuracy']:.1f} %"
        print(f"{summary['model']} {view}: {share} of {overall['n']}, {numbers['errors']} errors")
    for entry in summary.get("suites", {}).get("entries", []):
        value = entry["overall"]["value"]
        share = "-" if value is None else f"{100 * value:.1f} %"
        frames = f", {entry['frames']} frames" if entry["frames"] else ""
        print(
            f"{summary['model']} {entry['benchmark']} {entry['protocol']}{frames}, {entry['view']}: {share} of "
            f"{entry['scored']} scored, {entry['rows'] - entry['answered']} errors"
        )


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
