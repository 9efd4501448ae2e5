"""What each question needs of its clip: `python -m tasks.audit models/sft data/ingest/rl.parquet`.

Each question is asked on the clip as it is, reversed, shuffled, frozen, as one frame, and without it. Written:

    data/audit/<name>.parquet       a row a question: tag, difficulty, share right by view
    reports/audit/<name>.json       shares with intervals clustered by clip; agreement where the truth is known,
                                    and a question of every tag, which the report page shows

The first is a table to choose RL rows by, say all but those tagged `text`. A stopped run goes on where it was, and what
failed is asked again.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from tasks import params, paths
from tasks.audit.ask import Sampling, ask_all, latest
from tasks.audit.summary import lines, summary, tagged
from tasks.core.engine.open import open_engine
from tasks.core.io.atomic import write_json
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.digests import file_digest, work_key
from tasks.core.io.errors import StageError
from tasks.core.io.given import real_number, whole_number
from tasks.core.io.jsonl import append_jsonl, read_jsonl
from tasks.core.io.rows import read_rows
from tasks.core.models.errors import ModelError
from tasks.core.models.load import checkpoint_digest, frame_shape_in, is_endpoint
from tasks.core.schemas.parsing import RecordError, parse_record
from tasks.core.schemas.records import RECORD_SCHEMA, Record, is_reversed, record_from_row
from tasks.core.video import open_clip


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask what is missing, then tag and count."""
    chosen = parse(arguments)
    config = params.load()
    records, refused = read(chosen.records, chosen.media_root, chosen.rows)
    name = chosen.name or f"{chosen.model.name}-{chosen.records.stem}"
    sampling = Sampling(chosen.samples, chosen.temperature, 1.0, chosen.max_tokens)
    prompt = config.prompt.model_dump()
    key = work_key(
        model=model_digest(chosen.model),
        records=file_digest(chosen.records),
        media_root=str(chosen.media_root),
        sampling=sampling._asdict(),
        prompt=prompt,
        video=config.video.sampling(),
        seed=config.seed,
    )
    log = paths.WORK_DATA / "audit" / key / "completions.jsonl"
    # What failed is asked again: a clip that was missing may be there by now.
    done = {key for key, row in latest(read_jsonl(log)).items() if not row["error"]}
    if done:
        print(f"audit: {len(done)} completions of an earlier run are kept")
    settings = config.engine.model_dump() | {"backend": chosen.engine}
    with open_engine(model_path=chosen.model, **settings) as engine:
        batches = ask_all(
            engine,
            records,
            partial(open_clip, **config.video.opening(), **frame_shape_in(chosen.model)._asdict()),
            done=done,
            sampling=sampling,
            prompt=prompt,
            seed=config.seed,
            batch_size=config.engine.batch_size,
            decode_workers=config.video.decode_workers,
            variant=config.grpo.reward_variant,
        )
        for rows in batches:
            append_jsonl(log, rows)
    table = tagged(records, latest(read_jsonl(log)).values(), chosen.samples)
    tags, report = paths.AUDIT / f"{name}.parquet", paths.REPORTS / "audit" / f"{name}.json"
    tags.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table).to_parquet(tags)
    numbers = {"model": str(chosen.model), "records": str(chosen.records), "refused": refused, **summary(table)}
    write_json(report, numbers)
    print("\n".join(lines(name, numbers)))
    print(f"audit: {tags}, {report}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = OneLineParser(prog="python -m tasks.audit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="checkpoint folder, or the YAML file of an endpoint")
    parser.add_argument("records", type=Path, help="a table of ingest, or a record file in Video-R1's format")
    parser.add_argument("--media-root", type=Path, default=None, help="folder that a record file's paths start from")
    parser.add_argument("--rows", type=whole_number(), default=None, help="at most this many questions, evenly spread")
    parser.add_argument("--samples", type=whole_number(), default=4, help="completions of each question and view")
    parser.add_argument("--temperature", type=real_number(least=0), default=1.0)
    parser.add_argument("--max-tokens", type=whole_number(), default=64)
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="vllm")
    parser.add_argument("--name", default=None, help="of the files written; MODEL-RECORDS where it is left out")
    return parser.parse_args(arguments)


def read(path: Path, media_root: Path | None, limit: int | None) -> tuple[list[Record], dict[str, int]]:
    """Records to audit, and how many rows were left out, by reason.

    Raises:
        StageError: no such file, or no record in it.
    """
    records: list[Record] = []
    taken: set[int] = set()
    refused: dict[str, int] = {}
    for row in read_rows(path):
        where = f"{path} row {row.row}"
        try:
            record = _record(row.value, row.fault, where, media_root)
            if record.problem_id in taken:
                raise RecordError(where, "problem_id", "taken by an earlier row")
            taken.add(record.problem_id)
            records.append(record)
        except RecordError as error:
            refused[f"{error.field}: {error.reason}"] = refused.get(f"{error.field}: {error.reason}", 0) + 1
            print(f"audit: {error}")
    if not records:
        raise StageError(f"{path}: no record to audit")
    if limit is not None and limit < len(records):
        records = [records[at * len(records) // limit] for at in range(limit)]
    return records, refused


def model_digest(model: Path) -> str:
    """Digest of a checkpoint folder, or of an endpoint file.

    Raises:
        StageError: neither is there, or the folder is no usable checkpoint.
    """
    if not is_endpoint(model):
        return checkpoint_digest(model)
    if not model.is_file():
        raise StageError(f"{model}: no such endpoint file")
    return file_digest(model)


def _record(value: object, fault: str, where: str, media_root: Path | None) -> Record:
    if fault:
        raise RecordError(where, "row", fault)
    # A table of ingest, whose rows were checked there; a file of one's own may have a `source` too.
    if isinstance(value, dict) and value.get("source") and value.keys() >= set(RECORD_SCHEMA.names):
        return record_from_row(value)
    record = parse_record(value, where)
    if is_reversed(record):
        raise RecordError(where, "problem_id", "below 0, which stands for a clip played backwards")
    return dataclasses.replace(record, path=str((media_root or Path()) / record.path))


if __name__ == "__main__":
    run_stage(main, params.ParamsError, ModelError)
