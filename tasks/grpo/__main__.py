"""`python -m tasks.grpo`: data/ingest/rl.parquet and models/sft to models/grpo."""

from __future__ import annotations

import sys
from pathlib import Path

from tasks import paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.jsonl import append_jsonl, read_jsonl
from tasks.core.io.tables import read_table
from tasks.core.io.work import file_digest, folder_digest, work_key
from tasks.core.models.load import ModelError, load_model, load_processor
from tasks.core.schemas.records import RECORD_SCHEMA, Record, record_from_row
from tasks.core.train.clips import open_store
from tasks.core.train.runs import clear, publish
from tasks.core.video import tell_cache
from tasks.params import Params, ParamsError, load

HERE = Path(__file__).parent
CODE = [
    HERE,
    *(HERE.parent / "core" / name for name in ("engine", "models", "prompts", "rewards", "text", "train", "video")),
]
"""What a checkpoint depends on besides data and parameters."""


def main() -> int:
    """Train, then write model, rollouts, metrics and curve."""
    params = load()
    rows = read_table(paths.RL_RECORDS, RECORD_SCHEMA)
    processor = load_processor(paths.SFT_MODEL)
    # The trainer moves it to the device of its own process.
    model = load_model(paths.SFT_MODEL, "float32", "cpu")
    if not rows:
        raise StageError(f"{paths.RL_RECORDS}: no rows to train on")

    from tasks.grpo.data import render
    from tasks.grpo.log import RolloutLog
    from tasks.grpo.stop import EXIT_CODE, StoppedError, StopRequest
    from tasks.grpo.train import STEPS, train

    work = work_folder(params)
    skipped = work / "skipped.jsonl"

    def skip(record: Record, reason: str) -> None:
        append_jsonl(skipped, [{"problem_id": record.problem_id, "path": record.path, "reason": reason}])
        row = f"{paths.RL_RECORDS}: problem_id {record.problem_id} ({record.path})"
        print(f"grpo: prompt left out: {row}: {reason}", file=sys.stderr)

    store = open_store(params.video.opening(), params.grpo.frame_cache_gb, params.video.decode_workers)
    with StopRequest() as stop, store as clips:
        try:
            result = train(
                model,
                processor,
                render([record_from_row(row) for row in rows], processor, **params.prompt.model_dump()),
                clips=clips,
                settings=params.grpo,
                seed=params.seed,
                work=work,
                curve=paths.curve("grpo"),
                on_skip=skip,
                stop=stop,
                events=paths.events("grpo") / work.name,
            )
        except StoppedError as error:
            print(f"grpo: {error}; the same command goes on from it", file=sys.stderr)
            return EXIT_CODE
    publish(result.trainer, work, paths.GRPO_MODEL, params.grpo.dtype)
    if not result.trainer.is_world_process_zero():
        return 0
    answers = RolloutLog(work / "rollouts").join(paths.ROLLOUTS, params.grpo.steps)
    lost = len({row["problem_id"] for row in read_jsonl(skipped)})
    write_text(paths.curve("grpo"), result.curve)
    write_text(paths.GRPO_STEPS, (work / STEPS).read_text())
    write_json(paths.metrics("grpo"), {**result.metrics, "rollouts": answers, "skipped_prompts": lost})
    clear(work)
    reward = result.metrics["reward"]
    print(f"grpo: {params.grpo.steps} steps, {answers} rollouts, reward {reward} -> {paths.GRPO_MODEL}")
    tell_cache("grpo")
    return 0


def work_folder(params: Params) -> Path:
    """Where checkpoints lie: named by everything that they depend on."""
    used = {**params.model_dump(include={"seed", "prompt", "grpo"}), "video": params.video.sampling()}
    inputs = {"table": file_digest(paths.RL_RECORDS), "model": folder_digest(paths.SFT_MODEL)}
    return paths.WORK_MODELS / "grpo" / work_key(**used, **inputs, code=folder_digest(*CODE))


if __name__ == "__main__":
    run_stage(main, ParamsError, ModelError)
