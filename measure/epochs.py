"""When does more SFT stop helping? `python -m measure.epochs 1 2 4 8`, after `make run` or the stages up to filter.

Trains the SFT model of params.yaml anew for each number of epochs, everything else as it is, and asks each one the
questions of a validation split of the mini world, which no stage trains on or tests on. A number is taken where the
next one gains nothing beyond its interval. Writes reports/ablation/epochs.csv and epochs.md.

    accuracy      greedy answers, all questions, percent
    temporal      those that only the order of frames answers
    well_formed   completions that are a think block and an answer block
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measure.contest.evaluate import Policy, Result, answers
from measure.runs import append, read_runs, rounded, split
from tasks import paths
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.given import real_number
from tasks.core.io.tables import read_table
from tasks.core.models.load import ModelError, frame_shape_in, load_model, load_processor
from tasks.core.schemas.records import SFT_SCHEMA, Record, record_from_row
from tasks.core.stats import estimate, paired
from tasks.core.train.clips import ClipStore, open_store
from tasks.core.train.runs import clear
from tasks.params import Params, ParamsError, load
from tasks.sft.__main__ import note_skipped

OUT = paths.REPORTS / "ablation"
VALIDATION_SEED, QUESTIONS = 21_000, 400
"""World seed of the split and its size; no stage and no other measurement has it."""
KEY = ("epochs",)
FIELDS = (
    *KEY,
    "steps",
    "loss",
    "accuracy",
    "low",
    "high",
    "temporal",
    "static",
    "well_formed",
    "gain",
    "gain_low",
    "gain_high",
)
"""Columns of epochs.csv; the gain is that over the number before, paired by question."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and score every number of epochs that has no row."""
    parser = OneLineParser(prog="python -m measure.epochs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("epochs", nargs="+", type=real_number(above=0))
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args(arguments)
    params = load()
    questions = split("validation", QUESTIONS, VALIDATION_SEED, 0.0, params.ingest.workers)
    before: list[float] | None = None
    for epochs in sorted(chosen.epochs):
        results, facts = score(params, epochs, questions)
        row = {"epochs": epochs, **facts, **summary(results, questions, before)}
        before = [float(result.right) for result in results]
        append(chosen.out / "epochs.csv", FIELDS, [rounded(row)], KEY)
        write_text(chosen.out / "epochs.md", markdown(read_runs(chosen.out / "epochs.csv")))
        print(
            f"epochs: {epochs:g}: {100 * row['accuracy']:.1f} %, well formed {100 * row['well_formed']:.1f} %",
            flush=True,
        )
    return 0


def score(params: Params, epochs: float, questions: Sequence[Record]) -> tuple[list[Result], dict[str, Any]]:
    """Answers of the model after so many epochs, and the run's steps and loss."""
    from tasks.sft.data import Collator, examples, row_packer
    from tasks.sft.train import keeps_features, train

    base = Path(params.base())
    settings = params.sft.model_copy(update={"epochs": epochs})
    processor, model = load_processor(base), load_model(base, "float32")
    prompt = params.prompt.model_dump()
    rows = [record_from_row(row) for row in read_table(paths.SFT_ROWS, SFT_SCHEMA)]
    table = examples(rows, processor, **prompt)
    work = paths.WORK_MODELS / "epochs" / f"{epochs:g}"
    clear(work)
    work.mkdir(parents=True)
    with open_clips(params, base, settings.frame_cache_gb) as clips:
        skip = partial(note_skipped, work / "skipped.jsonl")
        packer = row_packer(model, settings.padding_free)
        collator = Collator(table, processor, clips, skip, packer, media=keeps_features(settings))
        curve = work / "curve.csv"
        result = train(model, processor, table, collator, settings=settings, seed=params.seed, work=work, curve=curve)
        trained = result.trainer.accelerator.unwrap_model(result.trainer.model).eval()
        policy = Policy(trained, processor, clips, prompt, params.grpo.sampling.max_tokens, params.grpo.reward_variant)
        answered = answers(policy, questions)
    clear(work)
    return answered, {"steps": result.metrics["steps"], "loss": result.metrics["loss"]}


def open_clips(params: Params, base: Path, limit_gb: float) -> ClipStore:
    """Clips as the base model reads them."""
    return open_store(params.video.opening() | frame_shape_in(base)._asdict(), limit_gb, params.video.decode_workers)


def summary(results: Sequence[Result], questions: Sequence[Record], before: Sequence[float] | None) -> dict[str, Any]:
    """Scores of one model; the gain over `before`, the scores of the model before on the same questions."""
    right = [float(result.right) for result in results]
    clusters = [record.path for record in questions]
    whole = estimate(right, clusters)
    kinds = {
        name: [value for value, record in zip(right, questions, strict=True) if record.temporal is wanted]
        for name, wanted in (("temporal", True), ("static", False))
    }
    scores: dict[str, Any] = {"accuracy": whole.value, "low": whole.low, "high": whole.high}
    scores |= {name: sum(values) / len(values) for name, values in kinds.items()}
    scores["well_formed"] = sum(result.well_formed for result in results) / len(results)
    gain = None if before is None else paired(right, before, clusters)
    names = {"gain": "difference", "gain_low": "low", "gain_high": "high"}
    return scores | {name: "" if gain is None else getattr(gain, field) for name, field in names.items()}


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """The table of the page."""
    lines = [
        f"SFT of params.yaml by epochs, {QUESTIONS} validation questions of the mini world; percent, 95 % intervals.",
        "",
        "| epochs | steps | loss | accuracy | temporal | static | well formed | gain over the row before |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: float(row["epochs"])):
        percent = {name: f"{100 * float(row[name]):.1f}" for name in FIELDS[3:] if row[name]}
        gain = f"{percent['gain']} ({percent['gain_low']} to {percent['gain_high']})" if row["gain"] else ""
        lines.append(
            f"| {float(row['epochs']):g} | {row['steps']} | {float(row['loss']):.3f} "
            f"| {percent['accuracy']} ({percent['low']} to {percent['high']}) | {percent['temporal']} "
            f"| {percent['static']} | {percent['well_formed']} | {gain} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_stage(main, ParamsError, ModelError)
