"""`python -m tasks.sft`: data/filter/sft.parquet and the base model to models/sft."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import params, paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import run_stage
from tasks.core.io.digests import code_digests, file_digest, folder_digest
from tasks.core.io.errors import StageError
from tasks.core.io.jsonl import append_jsonl, read_jsonl
from tasks.core.io.tables import read_table, write_table
from tasks.core.io.work import Work, find_work
from tasks.core.models.errors import ModelError
from tasks.core.models.load import frame_shape_in, load_processor
from tasks.core.schemas.records import SFT_SCHEMA, Record, record_from_row
from tasks.core.train.clips import open_store
from tasks.core.train.runs import ROWS_PER_STEP, begin_training, clear, processes, publish, refuse_unread
from tasks.core.video import tell_cache
from tasks.sft.given import take_checkpoint
from tasks.sft.seen import SEEN_SCHEMA, drawings, kept_orders

if TYPE_CHECKING:
    from tasks.sft.train import Result

HERE = Path(__file__).parent
CODE = [HERE, *(HERE.parent / "core" / name for name in ("backbones", "models", "prompts", "text", "train", "video"))]
"""Code that a checkpoint depends on, besides data and parameters."""
SKIPPED = "skipped.jsonl"
"""Rows left out, in the work folder."""


def main() -> int:
    """Train, then write model, metrics and curve."""
    config = params.load()
    if config.start.at == "sft":
        return take_given(Path(str(config.start.path)))
    base = Path(config.base())
    rows = read_table(paths.SFT_ROWS, SFT_SCHEMA)
    processor = load_processor(base)
    if not rows:
        raise StageError(f"{paths.SFT_ROWS}: no rows to train on")

    from tasks.core.train.sharding import load_policy
    from tasks.sft.data import Collator, examples, most_visual_tokens, row_packer
    from tasks.sft.train import keeps_features, train

    # The trainer moves it to the device of its own process.
    model = load_policy(base)
    work = begin_training(work_of(config, base))
    table = examples([record_from_row(row) for row in rows], processor, **config.prompt.model_dump())
    opening = config.video.opening() | frame_shape_in(base)._asdict()
    with open_store(opening, config.sft.frame_cache_gb, config.video.decode_workers) as clips:
        collator = Collator(
            table,
            processor,
            clips,
            partial(note_skipped, work / SKIPPED),
            row_packer(model, config.sft.padding_free),
            media=keeps_features(config.sft),
        )
        result = train(
            model,
            processor,
            table,
            collator,
            settings=config.sft,
            seed=config.seed,
            work=work,
            curve=paths.curve("sft"),
            visual=most_visual_tokens(processor, config.video.frames, config.video.max_pixels),
        )
    refuse_unread(work / SKIPPED, [row["problem_id"] for row in rows], "sft")
    publish(result.trainer, work, paths.SFT_MODEL, config.sft.dtype)
    if result.trainer.is_world_process_zero():
        rows_per_step = config.sft.batch_size * config.sft.gradient_accumulation * processes()
        write_reports(result, work, [row["problem_id"] for row in rows], rows_per_step)
    return 0


def note_skipped(log: Path, record: Record, reason: str) -> None:
    """Log a row that is left out, and say so."""
    append_jsonl(log, [{"problem_id": record.problem_id, "path": record.path, "reason": reason}])
    row = f"{paths.SFT_ROWS}: problem_id {record.problem_id} ({record.path})"
    print(f"sft: row left out: {row}: {reason}", file=sys.stderr)


def write_reports(result: Result, work: Path, problem_ids: Sequence[int], rows_per_step: int) -> None:
    """Curve, metrics and the rows of each step of a finished run; then its work folder is removed."""
    skipped = len({row["problem_id"] for row in read_jsonl(work / SKIPPED)})
    drawn = drawings(kept_orders(work), rows_per_step, result.trainer.state.global_step, problem_ids)
    write_table(paths.SFT_STEPS, drawn, SEEN_SCHEMA)
    write_text(paths.curve("sft"), result.curve)
    write_json(paths.metrics("sft"), {**result.metrics, "skipped_rows": skipped})
    clear(work)
    metrics = result.metrics
    print(f"sft: {metrics['steps']} steps on {len(problem_ids)} rows, loss {metrics['loss']:.3f} -> {paths.SFT_MODEL}")
    tell_cache("sft")


def take_given(checkpoint: Path) -> int:
    """Use a checkpoint as the result; of several processes the first one does it."""
    if os.environ.get("RANK", "0") != "0":
        return 0
    files = take_checkpoint(checkpoint, paths.SFT_MODEL)
    write_table(paths.SFT_STEPS, [], SEEN_SCHEMA)
    write_text(paths.curve("sft"), "step,loss\n")
    write_json(paths.metrics("sft"), {"steps": 0, "skipped_rows": 0, "taken_from": str(checkpoint)})
    print(f"sft: skipped, start.at is sft: {files} files of {checkpoint} -> {paths.SFT_MODEL}")
    return 0


def work_of(config: params.Params, base: Path) -> Work:
    """The work in progress; its key holds everything that can change the weights."""
    settings, device_rows = config.sft, config.sft.batch_size * config.sft.gradient_accumulation
    inputs = {
        **config.model_dump(include={"seed", "prompt"}),
        "sft": settings.deciding(),
        "video": config.video.sampling(),
        ROWS_PER_STEP: device_rows * processes(),
        # Batches of similar length are drawn from groups of this many rows.
        "length_groups": device_rows if settings.group_by_length else None,
        "files": {str(paths.SFT_ROWS): file_digest(paths.SFT_ROWS), str(base): folder_digest(base)},
        "code": code_digests(*CODE),
    }
    facts = {"processes": processes(), "length": f"{settings.epochs:g} epochs"}
    return find_work(paths.WORK_MODELS / "sft", "sft", inputs, facts)


if __name__ == "__main__":
    run_stage(main, params.ParamsError, ModelError, about=__doc__)
