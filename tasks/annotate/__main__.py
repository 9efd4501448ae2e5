"""`python -m tasks.annotate`: train records in, teacher answers out. Interrupted, it goes on where it stopped."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks import params, paths
from tasks.annotate.annotate import answer_all, cot_rows, metrics
from tasks.annotate.given import given_metrics, given_rows
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import EngineError
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import run_stage
from tasks.core.io.digests import code_digests, file_digest, media_digest
from tasks.core.io.tables import read_table, write_table
from tasks.core.io.work import Work, WorkLog, begin_work, find_work
from tasks.core.models.load import checkpoint_digest, frame_shape_in
from tasks.core.schemas.records import COT_SCHEMA, RECORD_SCHEMA, Record, record_from_row
from tasks.core.video import open_clip, tell_cache

ASKING = ("backbones", "engine", "models", "prompts", "text", "video")
"""Packages of `core` that decide an answer before it is scored."""


def main() -> int:
    """Annotate the train table of the params file."""
    config = params.load()
    if config.start.at != "teacher":
        return take_given(config.start.at, str(config.start.path))
    teacher = Path(config.teacher())
    records = [record_from_row(row) for row in read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)]
    log = WorkLog(begin_work(work_of(config, teacher, records)))
    answers = {row["problem_id"]: row for row in log.rows()}
    left = [record for record in records if record.problem_id not in answers]
    if answers and left:
        print(f"resuming: {len(answers)} of {len(records)} rows are done")
    if left:
        answers |= generate(config, teacher, left, log)
    rows = cot_rows(records, answers)
    summary = metrics(rows, answers)
    if rows and summary["errors"] == len(rows):
        first = answers[records[0].problem_id]["error"]
        raise EngineError(f"none of {len(rows)} rows could be answered; first: {first}")
    write_table(paths.COT, rows, COT_SCHEMA)
    write_json(paths.metrics("annotate"), summary)
    log.finish()
    report(summary, answers)
    return 0


def take_given(at: str, path: str) -> int:
    """Ask nobody: the reasoning came with the records, or a checkpoint is taken that needs none."""
    records = read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA) if at == "cot" else []
    rows = given_rows(map(record_from_row, records))
    write_table(paths.COT, rows, COT_SCHEMA)
    write_json(paths.metrics("annotate"), given_metrics(rows, path))
    print(f"annotate: skipped, start.at is {at}: {len(rows)} rows taken from {path}")
    return 0


def generate(config: params.Params, teacher: Path, left: list[Record], log: WorkLog) -> dict[int, dict[str, Any]]:
    """Answer the records that are left, logging each batch as it comes."""
    read = partial(open_clip, **config.video.opening(), **frame_shape_in(teacher)._asdict())
    answers: dict[int, dict[str, Any]] = {}
    with open_engine(model_path=teacher, **config.engine.model_dump()) as engine, bar(len(left)) as progress:
        for batch in answer_all(
            engine,
            left,
            read,
            decode_workers=config.video.decode_workers,
            batch_size=config.engine.batch_size,
            **config.prompt.model_dump(),
            seed=config.seed,
            **config.annotate.sampling.model_dump(),
        ):
            log.append(batch)
            answers |= {row["problem_id"]: row for row in batch}
            progress.update(len(batch))
    return answers


def work_of(config: params.Params, teacher: Path, records: list[Record]) -> Work:
    """The work in progress: keyed by everything that an answer depends on."""
    here = Path(__file__).parent
    inputs = {
        **config.model_dump(include={"seed", "prompt"}),
        "engine": config.engine.deciding(),
        "sampling": config.annotate.sampling.model_dump(),
        "video": config.video.sampling(),
        "files": {
            str(paths.TRAIN_RECORDS): file_digest(paths.TRAIN_RECORDS),
            str(paths.MEDIA): media_digest(record.path for record in records),
            str(teacher): checkpoint_digest(teacher),
        },
        "code": code_digests(here, *(here.parent / "core" / name for name in ASKING)),
    }
    return find_work(paths.WORK_DATA / "annotate", "annotate", inputs)


def bar(total: int) -> Any:
    """Progress bar over rows."""
    return tqdm(total=total, desc="annotate", unit="row", mininterval=1.0)


def report(summary: dict[str, Any], answers: dict[int, dict[str, Any]]) -> None:
    """Print what came out, and the first few failures."""
    print(f"annotate: {summary['rows']} rows, mean reward {summary['mean_reward']}, {summary['errors']} errors")
    failures = [row for row in answers.values() if row["finish_reason"] == "error"]
    for row in failures[:5]:
        print(f"  problem {row['problem_id']}: {row['error']}")
    tell_cache("annotate")


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
