"""`python -m tasks.benchmark MODEL`: the test split through one model of params.models. Interrupted, it goes on."""

from __future__ import annotations

import argparse
import difflib
import json
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks import params, paths
from tasks.benchmark.aggregate import aggregate
from tasks.benchmark.answer import answer_all, views_of
from tasks.benchmark.score import score_all
from tasks.core.engine.base import EngineError, open_engine
from tasks.core.engine.questions import read_sized
from tasks.core.engine.work import WorkLog, file_digest, media_digest, source_digest, work_key
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.tables import read_table
from tasks.core.models.load import fingerprint
from tasks.core.schemas.records import RECORD_SCHEMA, Record, record_from_row


def main() -> int:
    """Benchmark one model of the params file."""
    name = parse_arguments().model
    config = params.load()
    folder = folder_of(config, name)
    records = [record_from_row(row) for row in read_table(paths.TEST_RECORDS, RECORD_SCHEMA)][: config.benchmark.rows]
    log = WorkLog(paths.WORK_DATA / "benchmark" / name, key_of(config, folder, records))
    answers = log.rows()
    answered = {row["problem_id"] for row in answers}
    left = [record for record in records if record.problem_id not in answered]
    if answers and left:
        print(f"resuming: {len(answered)} of {len(records)} questions are done")
    if left:
        answers += generate(config, name, folder, left, log)
    rows = score_all(name, records, answers, config.benchmark.reward_variant)
    summary = aggregate(name, rows)
    if rows and summary["errors"] == len(rows):
        raise EngineError(f"none of {len(rows)} questions could be put to {name}; first: {rows[0]['error']}")
    text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_text(paths.predictions(name), text)
    write_json(paths.metrics("benchmark", name), summary)
    log.finish()
    report(summary)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tasks.benchmark", description=__doc__)
    parser.add_argument("model", help="name of a model in params.models")
    return parser.parse_args()


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


def generate(config: params.Params, name: str, folder: Path, left: list[Record], log: WorkLog) -> list[dict[str, Any]]:
    """Answer the questions that are left, logging each batch as it comes."""
    views = config.benchmark.views
    total = sum(len(views_of(record, views)) for record in left)
    answers: list[dict[str, Any]] = []
    with (
        open_engine(model_path=folder, **config.engine.model_dump()) as engine,
        tqdm(total=total, desc=f"benchmark {name}", unit="answer", mininterval=1.0) as progress,
    ):
        for batch in answer_all(
            engine,
            left,
            partial(read_sized, **config.video.model_dump()),
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


def key_of(config: params.Params, folder: Path, records: list[Record]) -> str:
    """Key of the work in progress: everything that an answer depends on."""
    here = Path(__file__).parent
    return work_key(
        table=file_digest(paths.TEST_RECORDS),
        media=media_digest(record.path for record in records),
        model=fingerprint(folder),
        code=source_digest(here, here.parent / "core"),
        seed=config.seed,
        prompt=config.prompt.model_dump(),
        video=config.video.model_dump(),
        engine=config.engine.model_dump(exclude={"batch_size"}),
        benchmark=config.benchmark.model_dump(),
    )


def report(summary: dict[str, Any]) -> None:
    """Print one line per view."""
    for view, numbers in summary["views"].items():
        overall = numbers["overall"]
        share = "-" if overall["accuracy"] is None else f"{100 * overall['accuracy']:.1f} %"
        print(f"{summary['model']} {view}: {share} of {overall['n']}, {numbers['errors']} errors")


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
