"""`python -m tasks.annotate`: train records to the teacher's completions; logged completions are used again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tasks import params, paths
from tasks.annotate.annotate import answer_all, cot_rows, metrics
from tasks.annotate.given import given_metrics, given_rows
from tasks.annotate.plan import Kept, Question, kept_rows, missing, question_key
from tasks.annotate.retell import retold_completions, retold_counts, told_backwards
from tasks.core.engine.endpoint import read_endpoint
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import EngineError
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import run_stage
from tasks.core.io.digests import file_digest
from tasks.core.io.jsonl import JsonlWriter, read_jsonl
from tasks.core.io.progress import tracked
from tasks.core.io.tables import read_table, write_table
from tasks.core.io.work import ROWS, Work, begin_work, find_work
from tasks.core.models.load import checkpoint_digest, frame_shape_in, is_endpoint
from tasks.core.schemas.pairs import paired
from tasks.core.schemas.records import COT_SCHEMA, MANIFEST_SCHEMA, RECORD_SCHEMA, Record, record_from_row
from tasks.core.video import VERSION as CLIPS
from tasks.core.video import open_clip, tell_cache

ASKING = 1
"""Number to raise when code changes what a teacher is shown or how it samples: older completions are then not used."""


def main() -> int:
    """Annotate the train table of the params file."""
    config = params.load()
    if config.start.at != "teacher":
        return take_given(config.start.at, str(config.start.path), config.annotate.pairs)
    teacher, samples = Path(config.teacher()), config.annotate.samples
    records = [record_from_row(row) for row in read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA)]
    pairs: dict[str, Any] = {}
    if config.annotate.pairs:
        records, _, pairs = paired(records)
        print(f"annotate: {pairs['pairs']} rows are of clips played backwards")
    keys = question_keys(records, **config.prompt.model_dump())
    log = begin_work(work_of(config, teacher)) / ROWS
    kept = kept_rows(read_jsonl(log))
    told = told_backwards(records, keys) if config.annotate.retell else []
    not_asked = {row.key for row in told}
    asked = [key for key in keys if key not in not_asked]
    questions = [question for question in missing(records, keys, kept, samples) if question.key not in not_asked]
    print(counts_line(asked, kept, questions, samples, log))
    fresh = generate(config, teacher, questions, log) if questions else {}
    completions = {**kept, **fresh}
    retold = retold_completions(told, completions, samples)
    if config.annotate.retell:
        pairs |= retold_counts(list(retold.values()))
        print(f"annotate: {pairs['retold']} completions about them are retold of the clips as they are")
    completions |= retold
    rows = cot_rows(records, keys, completions, samples, config.annotate.keep)
    by_id = {record.problem_id: key for record, key in zip(records, keys, strict=True)}
    summary = metrics(rows, by_id, completions, samples, not_asked)
    summary |= price(teacher, completions, asked, samples) | pairs
    if rows and summary["errors"] == len(rows):
        raise EngineError(f"none of {len(rows)} rows could be answered; first: {rows[0]['error']}")
    write_table(paths.COT, rows, COT_SCHEMA)
    write_json(paths.metrics("annotate"), summary)
    report(summary, rows)
    return 0


def take_given(at: str, path: str, wants_pairs: bool) -> int:
    """Without a teacher: the reasoning comes with the records, or a given checkpoint needs none.

    `wants_pairs`: the params ask for clips played backwards, which nobody answers here; it is said.
    """
    records = read_table(paths.TRAIN_RECORDS, RECORD_SCHEMA) if at == "cot" else []
    rows = given_rows(map(record_from_row, records))
    write_table(paths.COT, rows, COT_SCHEMA)
    write_json(paths.metrics("annotate"), given_metrics(rows, path))
    print(f"annotate: skipped, start.at is {at}: {len(rows)} rows taken from {path}")
    if wants_pairs:
        print("annotate: annotate.pairs does nothing, no teacher is asked about clips played backwards")
    return 0


def question_keys(records: Sequence[Record], *, template: str, system: str) -> list[str]:
    """Key of each record's question; digests of media are those of ingest."""
    media = {(row["path"], row["data_type"]): row["sha256"] for row in read_table(paths.MANIFEST, MANIFEST_SCHEMA)}
    return [
        question_key(
            record,
            media.get((record.path, record.data_type)) or file_digest(Path(record.path)),
            template=template,
            system=system,
        )
        for record in records
    ]


def work_of(config: params.Params, teacher: Path) -> Work:
    """The log of completions: one for all questions to a teacher under the same settings."""
    if is_endpoint(teacher):
        endpoint = read_endpoint(teacher)
        asked = {"endpoint": endpoint.base_url, "model": endpoint.model}
    else:
        asked = {"checkpoint": checkpoint_digest(teacher), **config.engine.deciding()}
    inputs = {
        "seed": config.seed,
        "prompt": config.prompt.model_dump(),
        "teacher": asked,
        "sampling": config.annotate.sampling.model_dump(),
        "video": config.video.sampling(),
        "code": {"asking": ASKING, "clips": CLIPS},
    }
    return find_work(paths.WORK_DATA / "annotate", "annotate", inputs)


def counts_line(keys: Sequence[str], kept: Kept, questions: Sequence[Question], samples: int, log: Path) -> str:
    """One line: how many completions are used again, and how many are asked for."""
    wanted, asked = len(set(keys)) * samples, sum(question.samples for question in questions)
    used = {(key, sample) for key in keys for sample in range(samples)}
    idle = sum(name not in used for name in kept)
    others = f"; {idle} kept ones belong to no question of the table" if idle else ""
    return f"annotate: {wanted} completions wanted, {wanted - asked} kept in {log}, {asked} to ask{others}"


def generate(
    config: params.Params, teacher: Path, questions: Sequence[Question], log: Path
) -> dict[tuple[str, int], dict[str, Any]]:
    """Ask what is missing and log each completion as it comes; failed ones are not logged."""
    read = partial(open_clip, **config.video.opening(), **frame_shape_in(teacher)._asdict())
    total = sum(question.samples for question in questions)
    fresh: dict[tuple[str, int], dict[str, Any]] = {}
    with (
        open_engine(model_path=teacher, **config.engine.model_dump()) as engine,
        JsonlWriter(log) as writer,
        tracked(total=total, desc="annotate", unit="completion", mininterval=1.0) as progress,
    ):
        for rows in answer_all(
            engine,
            questions,
            read,
            decode_workers=config.video.decode_workers,
            **config.prompt.model_dump(),
            seed=config.seed,
            **config.annotate.sampling.model_dump(),
        ):
            for row in rows:
                if row["finish_reason"] != "error":
                    writer.write(row)
                fresh[row["key"], row["sample"]] = row
            progress.update(len(rows))
        if remarks := engine.remarks():
            progress.write(f"annotate: {remarks}")
    return fresh


def price(teacher: Path, completions: Kept, keys: Sequence[str], samples: int) -> dict[str, Any]:
    """What the completions cost at an endpoint, by the prices in its file; nothing for a checkpoint."""
    if not is_endpoint(teacher):
        return {}
    endpoint = read_endpoint(teacher)
    asked = [completions[key, sample] for key in set(keys) for sample in range(samples)]
    usd = sum(endpoint.usd(row["prompt_tokens"] if row["sample"] == 0 else 0, row["tokens"]) for row in asked)
    return {"usd": round(usd, 4)}


def report(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Print the counts, and the first few failures."""
    cost = f", {summary['usd']:.2f} USD" if "usd" in summary else ""
    print(f"annotate: {summary['rows']} rows, mean reward {summary['mean_reward']}, {summary['errors']} errors{cost}")
    failures = [row for row in rows if row["finish_reason"] == "error"]
    for row in failures[:5]:
        print(f"  problem {row['problem_id']}: {row['error']}")
    tell_cache("annotate")


if __name__ == "__main__":
    run_stage(main, params.ParamsError, about=__doc__)
