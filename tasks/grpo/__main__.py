"""`python -m tasks.grpo`: data/ingest/rl.parquet and models/sft to models/grpo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tasks import params, paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import run_stage
from tasks.core.io.digests import code_digests, file_digest, folder_digest
from tasks.core.io.errors import StageError
from tasks.core.io.jsonl import append_jsonl, read_jsonl
from tasks.core.io.tables import read_table
from tasks.core.io.work import Work, find_work
from tasks.core.models.errors import ModelError
from tasks.core.models.load import frame_shape_in, load_processor
from tasks.core.models.protocols import Processor
from tasks.core.schemas.pairs import Paired, paired
from tasks.core.schemas.records import RECORD_SCHEMA, Record, record_from_row
from tasks.core.train.clips import ClipStore, open_store
from tasks.core.train.runs import ROWS_PER_STEP, begin_training, clear, processes, publish, refuse_unread
from tasks.core.video import tell_cache
from tasks.grpo.ledger import ledger
from tasks.grpo.rows import Chosen, choose

if TYPE_CHECKING:
    from tasks.grpo.data import Prompt
    from tasks.grpo.train import Result

HERE = Path(__file__).parent
CODE = [
    HERE,
    *(
        HERE.parent / "core" / name
        for name in ("backbones", "engine", "models", "prompts", "rewards", "text", "train", "video")
    ),
]
"""Code that a checkpoint depends on, besides data and parameters."""
SKIPPED = "skipped.jsonl"
"""Prompts left out, in the work folder."""


def main() -> int:
    """Train, then write model, rollouts, metrics and curve."""
    config = params.load()
    rows = read_table(paths.RL_RECORDS, RECORD_SCHEMA)
    processor = load_processor(paths.SFT_MODEL)
    if not rows:
        raise StageError(f"{paths.RL_RECORDS}: no rows to train on")
    settings = config.grpo
    chosen = Chosen(rows, {"rows": len(rows), "kept": len(rows)})
    if settings.rows.tags is not None:
        chosen = choose(rows, Path(settings.rows.tags), settings.rows.digest, settings.rows.drop)
        print(f"grpo: {chosen.counts['kept']} of {len(rows)} rows kept; dropped: {chosen.counts['dropped']}")

    from tasks.core.train.sharding import load_policy
    from tasks.grpo.data import backwards, render
    from tasks.grpo.stop import EXIT_CODE, StoppedError, StopRequest
    from tasks.grpo.train import train

    # The trainer moves it to the device of its own process.
    model = load_policy(paths.SFT_MODEL, settings.weights_dtype)
    rows_paired = Paired([record_from_row(row) for row in chosen.rows], frozenset(), {})
    if settings.rows.pairs:
        rows_paired = paired(rows_paired.records)
        print(f"grpo: {rows_paired.counts['pairs']} rows are of clips played backwards")
    prompts = render(rows_paired.records, processor, **config.prompt.model_dump())
    prompts = backwards(prompts, rows_paired.reversed_ids)
    opening = config.video.opening() | frame_shape_in(paths.SFT_MODEL)._asdict()
    store = open_store(opening, settings.frame_cache_gb, config.video.decode_workers)
    with StopRequest() as stop, store as clips:
        reasons = refused(prompts, processor, clips, config)
        work = begin_training(work_of(config, [prompts[index].record.problem_id for index in reasons]))
        skip = partial(note_skipped, work / SKIPPED)
        for index, reason in reasons.items():
            skip(prompts[index].record, reason)
        try:
            result = train(
                model,
                processor,
                [prompt for index, prompt in enumerate(prompts) if index not in reasons],
                clips=clips,
                settings=settings,
                seed=config.seed,
                work=work,
                curve=paths.curve("grpo"),
                on_skip=skip,
                stop=stop,
                events=paths.events("grpo") / work.name,
            )
        except StoppedError as error:
            print(f"grpo: {error}; the same command goes on from it", file=sys.stderr)
            return EXIT_CODE
    refuse_unread(work / SKIPPED, [prompt.record.problem_id for prompt in prompts], "grpo")
    publish(result.trainer, work, paths.GRPO_MODEL, settings.dtype)
    if result.trainer.is_world_process_zero():
        write_reports(result, work, settings.steps, chosen.counts | rows_paired.counts)
    return 0


def refused(prompts: Sequence[Prompt], processor: Processor, clips: ClipStore, config: params.Params) -> dict[int, str]:
    """Index -> reason, for each prompt that is too long for the rollout engine.

    Raises:
        StageError: no prompt is short enough.
    """
    from tasks.grpo.admit import too_long

    if not config.grpo.sampled_by_vllm:
        return {}
    reasons = too_long(
        prompts,
        processor,
        clips,
        max_len=config.grpo.rollout_max_len,
        max_tokens=config.grpo.sampling.max_tokens,
        frames=config.video.frames,
        max_pixels=config.video.max_pixels,
    )
    if len(reasons) == len(prompts):
        raise StageError(f"{paths.RL_RECORDS}: no prompt is short enough; the first: {reasons[0]}")
    return reasons


def note_skipped(log: Path, record: Record, reason: str) -> None:
    """Log a prompt that is left out, and say so."""
    append_jsonl(log, [{"problem_id": record.problem_id, "path": record.path, "reason": reason}])
    row = f"{paths.RL_RECORDS}: problem_id {record.problem_id} ({record.path})"
    print(f"grpo: prompt left out: {row}: {reason}", file=sys.stderr)


def write_reports(result: Result, work: Path, steps: int, rows: dict[str, Any]) -> None:
    """Rollouts, ledger, curve and metrics of a finished run; then its work folder is removed."""
    from tasks.grpo.log import RolloutLog
    from tasks.grpo.train import STEPS

    rollouts = RolloutLog(work / "rollouts").join(paths.ROLLOUTS, steps)
    skipped = len({row["problem_id"] for row in read_jsonl(work / SKIPPED)})
    write_text(paths.curve("grpo"), result.curve)
    write_json(paths.LEDGER, ledger(pd.read_parquet(paths.ROLLOUTS)))
    write_text(paths.GRPO_STEPS, (work / STEPS).read_text())
    counts = {"rollouts": rollouts, "skipped_prompts": skipped, "rl_rows": rows}
    write_json(paths.metrics("grpo"), {**result.metrics, **counts})
    clear(work)
    print(f"grpo: {steps} steps, {rollouts} rollouts, reward {result.metrics['reward']} -> {paths.GRPO_MODEL}")
    tell_cache("grpo")


def work_of(config: params.Params, left_out: Sequence[int]) -> Work:
    """The work in progress; its key holds everything that can change the weights.

    Args:
        config: the whole file.
        left_out: problem ids of prompts that are too long.
    """
    settings = config.grpo
    inputs = {
        **config.model_dump(include={"seed", "prompt"}),
        "grpo": settings.deciding(),
        "video": config.video.sampling(),
        "left_out": list(left_out),
        ROWS_PER_STEP: settings.prompts_per_step * processes() // settings.group_ranks,
        "files": {
            str(paths.RL_RECORDS): file_digest(paths.RL_RECORDS),
            str(paths.SFT_MODEL): folder_digest(paths.SFT_MODEL),
        },
        "code": code_digests(*CODE),
    }
    facts = {"processes": processes(), "length": f"{settings.steps} steps"}
    return find_work(paths.WORK_MODELS / "grpo", "grpo", inputs, facts)


if __name__ == "__main__":
    run_stage(main, params.ParamsError, ModelError, about=__doc__)
