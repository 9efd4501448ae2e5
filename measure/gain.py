"""What does RL add to the SFT model? `python -m measure.gain`, after `make run` or the stages up to sft.

Trains models/sft on by each of TRIALS, GRPO with other settings or rows, or more SFT as their control, and asks all of
them the questions of a validation split of the mini world, which no stage trains on or tests on. Operations are
counted, so that a gain of RL can be held against what SFT makes of as many.

Writes a row of reports/ablation/gain.csv as each trial ends, and gain.md; a trial that has its row is skipped.

    accuracy      greedy answers, all questions, as the benchmark counts it
    gain          of accuracy over models/sft; paired by question
    last, first   "Which colour appears last?" and "... first?": a model that reads the first figure alone has 0 and 1
    well_formed   completions that are a think block and an answer block
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from measure.contest.evaluate import Policy, Result, answers
from measure.contest.flops import counted
from measure.contest.training import by_grpo
from measure.gain_table import ENDS, FIELDS, KEY, SKILLS, markdown
from measure.runs import append, read_runs, rounded, split
from tasks import paths
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.given import whole_number
from tasks.core.io.tables import read_table
from tasks.core.models.load import ModelError, frame_shape_in, load_model, load_processor
from tasks.core.schemas.records import SFT_SCHEMA, Record, record_from_row
from tasks.core.stats import estimate, paired
from tasks.core.train.clips import open_store
from tasks.core.train.runs import clear
from tasks.params import Grpo, Params, ParamsError, load
from tasks.sft.__main__ import note_skipped

OUT = paths.REPORTS / "ablation"
VALIDATION_SEED, QUESTIONS = 22_000, 800
"""World seed of the split and its size; no stage and no other measurement has it."""
RL_SEED = 2
"""World seed of the pipeline's RL split: more rows of it begin with the pipeline's."""
BASE = {
    "steps": 100,
    "prompts_per_step": 16,
    "group": 12,
    "refill": 0,
    "learning_rate": 3e-4,
    "scheduler": "linear",
    "warmup_steps": 0,
    "beta": 0.0,
    "epsilon_high": None,
    "scale_rewards": "group",
    "format_weight": 1.0,
}
"""Settings of a trial that it does not name; those that it cannot name are of params.yaml."""


class Trial(NamedTuple):
    """One way to go on from models/sft."""

    what: str
    settings: dict[str, Any] | None = None
    """Of the grpo section, where they are not BASE; None: no RL."""
    rows: int = 600
    """RL rows."""
    most: dict[str, int] | None = None
    """Of these, at most so many of a skill, and OTHERS of each that is not named."""
    easy: float | None = None
    """Of these, those that the start answers wrong, and this share of as many that it answers right."""
    epochs: float = 0.0
    """Of more SFT."""


OTHERS = 40
ORDER_FIRST = {"order": 1000, "often": 60, "describe": 60, "motion": 60}
TRIALS = {
    "sft": Trial("models/sft, the start"),
    "sft_2_epochs": Trial("two more epochs of SFT", epochs=2.0),
    "grpo": Trial("100 steps of 16 prompts x 12 completions, rate 3e-4, 600 rows", {}),
    "rate_1e-4": Trial("rate 1e-4", {"learning_rate": 1e-4}),
    "rate_1e-3": Trial("rate 1e-3", {"learning_rate": 1e-3}),
    "refill": Trial("refill 1, upper clip 0.28, 2,400 rows", {"refill": 1, "epsilon_high": 0.28}, rows=2400),
    "no_format": Trial("format paid 0.1, 2,400 rows", {"format_weight": 0.1}, rows=2400),
    "half_order": Trial("half of the rows ask which colour is first or last", {}, rows=2400, most=ORDER_FIRST),
    "hard": Trial("rows that the start answers wrong, and 0.6 as many others", {}, rows=2400, easy=0.6),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every trial that has no row."""
    parser = OneLineParser(prog="python -m measure.gain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=f"{', '.join(TRIALS)}; all if none is named")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the order of rows and of rollouts")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.trials if name not in TRIALS]:
        parser.error(f"no trial {', '.join(unknown)}; trials: {', '.join(TRIALS)}")
    params, table, before = load(), chosen.out / "gain.csv", list[float]()
    questions = split("validation", QUESTIONS, VALIDATION_SEED, 0.0, params.ingest.workers)
    for name in chosen.trials or TRIALS:
        key = {"trial": name, "seed": chosen.seed}
        if {field: str(value) for field, value in key.items()} in [
            {field: row[field] for field in KEY} for row in read_runs(table)
        ]:
            continue
        before = before or [result.accuracy for result in score(params, TRIALS["sft"], 0, questions)[0]]
        results, facts = score(params, TRIALS[name], chosen.seed, questions)
        row = {**key, **facts, **summary(results, questions, before)}
        append(table, FIELDS, [rounded(row)], KEY)
        write_text(
            chosen.out / "gain.md",
            markdown(read_runs(table), {name: trial.what for name, trial in TRIALS.items()}, QUESTIONS),
        )
        print(f"gain: {name}, seed {chosen.seed}: {100 * row['accuracy']:.1f} %", flush=True)
    return 0


def score(params: Params, trial: Trial, seed: int, questions: Sequence[Record]) -> tuple[list[Result], dict[str, Any]]:
    """Answers after a trial, and what it took."""
    began, grpo = time.monotonic(), params.grpo
    processor, model = load_processor(paths.SFT_MODEL), load_model(paths.SFT_MODEL, "float32", "cpu")
    work = paths.WORK_MODELS / "gain" / str(os.getpid())
    clear(work)
    work.mkdir(parents=True)
    opening = params.video.opening() | frame_shape_in(paths.SFT_MODEL)._asdict()
    with open_store(opening, grpo.frame_cache_gb, params.video.decode_workers) as clips:
        prompt = params.prompt.model_dump()
        policy = Policy(model, processor, clips, prompt, grpo.sampling.max_tokens, grpo.reward_variant)
        with counted() as spent:
            if trial.epochs:
                policy = policy._replace(model=more_sft(params, trial.epochs, seed, policy, work))
            elif trial.settings is not None:
                rows = learning(trial, policy, params.ingest.workers)
                policy = policy._replace(model=more_grpo(settings_of(trial, grpo), rows, seed, policy, work))
        seconds = time.monotonic() - began
        answered = answers(policy, questions)
    clear(work)
    return answered, {"flops": spent.total, "seconds": seconds}


def settings_of(trial: Trial, grpo: Grpo) -> Grpo:
    """The grpo section of a trial.

    Raises:
        ValidationError: a value that the section refuses.
    """
    return Grpo.model_validate({**grpo.model_dump(), **BASE, **(trial.settings or {}), "report_to": []})


def learning(trial: Trial, start: Policy, workers: int) -> list[Record]:
    """RL rows of a trial."""
    rows = split("rl", trial.rows, RL_SEED, 0.0, workers)
    if trial.most is not None:
        rows = at_most(rows, trial.most)
    if trial.easy is not None:
        rows = harder(rows, [result.right for result in answers(start, rows)], trial.easy)
    return rows


def at_most(rows: Sequence[Record], most: Mapping[str, int]) -> list[Record]:
    """The first rows of every skill, as many as `most` says, OTHERS where it does not name the skill."""
    taken: Counter[str] = Counter()
    kept = []
    for record in rows:
        taken[record.skill] += 1
        if taken[record.skill] <= most.get(record.skill, OTHERS):
            kept.append(record)
    return kept


def harder(rows: Sequence[Record], right: Sequence[bool], easy: float) -> list[Record]:
    """Rows that are answered wrong, and `easy` times as many, drawn at random, of those that are answered right."""
    wrong = [record for record, known in zip(rows, right, strict=True) if not known]
    others = [record for record, known in zip(rows, right, strict=True) if known]
    random.Random(0).shuffle(others)
    return [*wrong, *others[: int(easy * len(wrong))]]


def more_grpo(settings: Grpo, rows: Sequence[Record], seed: int, start: Policy, work: Path) -> Any:
    """The model after RL."""
    trainer = by_grpo(settings, start, rows, seed, work)
    return trainer.accelerator.unwrap_model(trainer.model).eval()


def more_sft(params: Params, epochs: float, seed: int, start: Policy, work: Path) -> Any:
    """The model after more SFT on the same rows."""
    from tasks.sft.data import Collator, examples, row_packer
    from tasks.sft.train import keeps_features, train

    settings = params.sft.model_copy(update={"epochs": epochs})
    rows = [record_from_row(row) for row in read_table(paths.SFT_ROWS, SFT_SCHEMA)]
    table = examples(rows, start.processor, **start.prompt)
    skip, packer = partial(note_skipped, work / "skipped.jsonl"), row_packer(start.model, settings.padding_free)
    collator = Collator(table, start.processor, start.clips, skip, packer, media=keeps_features(settings))
    curve = work / "curve.csv"
    result = train(start.model, start.processor, table, collator, settings=settings, seed=seed, work=work, curve=curve)
    return result.trainer.accelerator.unwrap_model(result.trainer.model).eval()


def summary(results: Sequence[Result], questions: Sequence[Record], before: Sequence[float]) -> dict[str, Any]:
    """Scores of one model; the gain over `before`, the accuracies of models/sft on the same questions."""
    values = [result.accuracy for result in results]
    clusters = [record.path for record in questions]
    whole, gain = estimate(values, clusters), paired(values, before, clusters)

    def mean(keep: Sequence[bool]) -> float:
        kept = [value for value, wanted in zip(values, keep, strict=True) if wanted]
        return sum(kept) / len(kept) if kept else float("nan")

    return {
        "accuracy": whole.value,
        "low": whole.low,
        "high": whole.high,
        "gain": gain.difference,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "temporal": mean([bool(record.temporal) for record in questions]),
        "static": mean([not record.temporal for record in questions]),
        **{
            word: mean([record.problem.startswith(f"Which colour appears {word}?") for record in questions])
            for word in ENDS
        },
        "well_formed": sum(result.well_formed for result in results) / len(results),
        **{skill: mean([record.skill == skill for record in questions]) for skill in SKILLS},
    }


if __name__ == "__main__":
    run_stage(main, ParamsError, ModelError)
