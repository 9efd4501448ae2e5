"""`python -m tasks.sft`: data/filter/sft.parquet and the base model to models/sft."""

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
from tasks.core.schemas.records import SFT_SCHEMA, Record, record_from_row
from tasks.core.train.clips import open_store
from tasks.core.train.runs import clear, publish
from tasks.core.video import tell_cache
from tasks.params import ParamsError, load

HERE = Path(__file__).parent
CODE = [HERE, *(HERE.parent / "core" / name for name in ("models", "prompts", "text", "train", "video"))]
"""What a checkpoint depends on besides data and parameters."""


def main() -> int:
    """Train, then write model, metrics and curve."""
    params = load()
    base = Path(params.models["base"])
    rows = read_table(paths.SFT_ROWS, SFT_SCHEMA)
    processor = load_processor(base)
    # The trainer moves it to the device of its own process.
    model = load_model(base, "float32", "cpu")
    if not rows:
        raise StageError(f"{paths.SFT_ROWS}: no rows to train on")

    from tasks.sft.data import Collator, examples, most_visual_tokens, placing
    from tasks.sft.train import keeps_features, train

    used = {**params.model_dump(include={"seed", "prompt", "sft"}), "video": params.video.sampling()}
    key = work_key(**used, table=file_digest(paths.SFT_ROWS), model=folder_digest(base), code=folder_digest(*CODE))
    work = paths.WORK_MODELS / "sft" / key
    skipped = work / "skipped.jsonl"

    def skip(record: Record, reason: str) -> None:
        append_jsonl(skipped, [{"problem_id": record.problem_id, "path": record.path, "reason": reason}])
        row = f"{paths.SFT_ROWS}: problem_id {record.problem_id} ({record.path})"
        print(f"sft: row left out: {row}: {reason}", file=sys.stderr)

    table = examples([record_from_row(row) for row in rows], processor, **params.prompt.model_dump())
    with open_store(params.video.opening(), params.sft.frame_cache_gb, params.video.decode_workers) as clips:
        result = train(
            model,
            processor,
            table,
            Collator(
                table,
                processor,
                clips,
                skip,
                placing(model, params.sft.padding_free),
                media=keeps_features(params.sft),
            ),
            settings=params.sft,
            seed=params.seed,
            work=work,
            curve=paths.curve("sft"),
            visual=most_visual_tokens(params.video.frames, params.video.max_pixels),
        )
    publish(result.trainer, work, paths.SFT_MODEL, params.sft.dtype)
    if not result.trainer.is_world_process_zero():
        return 0
    lost = len({row["problem_id"] for row in read_jsonl(skipped)})
    write_text(paths.curve("sft"), result.curve)
    write_json(paths.metrics("sft"), {**result.metrics, "skipped_rows": lost})
    clear(work)
    done = result.metrics
    print(f"sft: {done['steps']} steps on {len(rows)} rows, loss {done['loss']:.3f} -> {paths.SFT_MODEL}")
    tell_cache("sft")
    return 0


if __name__ == "__main__":
    run_stage(main, ParamsError, ModelError)
