"""`python -m tasks.annotate`: train records in, teacher answers out. Interrupted, it goes on where it stopped."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks import params, paths
from tasks.annotate.annotate import answer_all, cot_rows, metrics
from tasks.core.engine.base import EngineError, open_engine
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import run_stage
from tasks.core.io.tables import read_table, write_table
from tasks.core.io.work import WorkLog, file_digest, folder_digest, media_digest, work_key
from tasks.core.models.load import checkpoint_digest
from tasks.core.schemas.records import COT_SCHEMA, RECORD_SCHEMA, Record, record_from_row
from tasks.core.video import open_clip, tell_cache


def main() -> int:
    """Annotate the train table of the params file."""
    config = params.load()
    teacher = Path(config.models["teacher"])
    records = [record_from_row(row) for row in read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)]
    log = WorkLog(paths.WORK_DATA / "annotate", key_of(config, teacher, records))
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


def generate(config: params.Params, teacher: Path, left: list[Record], log: WorkLog) -> dict[int, dict[str, Any]]:
    """Answer the records that are left, logging each batch as it comes."""
    read = partial(open_clip, **config.video.opening())
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


def key_of(config: params.Params, teacher: Path, records: list[Record]) -> str:
    """Key of the work in progress: everything that an answer depends on."""
    here = Path(__file__).parent
    return work_key(
        table=file_digest(paths.TRAIN_RECORDS),
        media=media_digest(record.path for record in records),
        model=checkpoint_digest(teacher),
        code=folder_digest(here, here.parent / "core"),
        seed=config.seed,
        prompt=config.prompt.model_dump(),
        video=config.video.sampling(),
        engine=config.engine.model_dump(exclude={"batch_size"}),
        sampling=config.annotate.sampling.model_dump(),
    )


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
