"""Which temporal objective should a user take at equal operations? `python -m measure.contest`.

    starts      python -m measure.contest.starts     start models whose shortcut arose by itself
    tune        every method's values, on validation splits of the tuning starts, with one number of trials
    run         every start, method and seed; a row of reports/contest/runs.csv as each run ends, then the table

A run trains on a biased RL split until its budget of operations is used, and is tested on counterfactual quadruples and
an unbiased mixed split. Operations are counted from the calls that it makes (`flops.py`). Stopped and started again,
the command goes on; several of one thread share the runs. What is measured, and how it is judged, was fixed in
reports/contest/protocol.md before the first run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from measure.contest.evaluate import Policy, answers, evaluate, pair_scores
from measure.contest.flops import Operations, counted
from measure.contest.methods import METHODS, TRIALS, Trial, read_chosen, settings
from measure.contest.quadruples import STATIC, Asked, quadruples
from measure.contest.starts import STARTS_OF_THE_CONTEST, TUNING, UNBIASED, Start, make
from measure.contest.table import CURVE_FIELDS, FIELDS, KEY, markdown
from measure.runs import append, lock, read_runs, split
from tasks import paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import run_stage
from tasks.core.models.load import ModelError, load_model, load_processor
from tasks.core.train.clips import ClipStore, open_store
from tasks.core.train.runs import clear
from tasks.params import Params, ParamsError, load

OUT = paths.REPORTS / "contest"
RL_SEED, TEST_SEED, VALIDATION_SEED, QUICK_SEED = 11_000, 12_000, 13_000, 14_000
"""World seeds of splits; the pipeline's own are below. Validation is never tested on, nor the test tuned on."""
LEADING = ("grpo", "taro", "arrow", "exchange", "permuted")
"""Methods with 16 seeds; the others have 8."""


class Size(NamedTuple):
    """How large a run is."""

    budget: float
    """Operations that training may take."""
    most_steps: int
    """Optimizer steps after which it ends even so."""
    every: int
    """Steps between the points of a curve."""
    rl_rows: int
    scenes: int
    """Quadruples of the test."""
    quick_scenes: int
    """Quadruples of a curve's point."""
    mixed_rows: int


WHOLE = Size(budget=5e12, most_steps=200, every=10, rl_rows=1200, scenes=150, quick_scenes=24, mixed_rows=200)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune, or run what is missing and write the table."""
    chosen = parse(arguments)
    params = load()
    if chosen.command == "tune":
        tune(params, chosen)
        return 0
    trials = read_chosen(chosen.out / "chosen.json", chosen.methods)
    starts = [s for s in (*STARTS_OF_THE_CONTEST, UNBIASED) if chosen.starts is None or s.name in chosen.starts]
    for seed in range(max(chosen.seeds, chosen.leading_seeds)):
        for start in starts:
            for method in chosen.methods:
                if seed < (chosen.leading_seeds if method in LEADING else chosen.seeds):
                    _once(params, chosen, start, method, seed, trials[method])
    write_text(chosen.out / "table.md", markdown(read_runs(chosen.out / "runs.csv"), list(METHODS)))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m measure.contest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", nargs="?", choices=("run", "tune"), default="run")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--starts", nargs="+", default=None, metavar="NAME", help="names of starts; all if left out")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--leading-seeds", type=int, default=16, help=f"seeds of {', '.join(LEADING)}")
    parser.add_argument("--rl-bias", type=float, default=0.8, help="share of moving figures given away in the RL split")
    parser.add_argument("--out", type=Path, default=OUT)
    for name, value in WHOLE._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args(arguments)


def tune(params: Params, chosen: argparse.Namespace) -> None:
    """Choose each method's values by pair accuracy on validation quadruples, in the mean over the tuning starts."""
    rows = chosen.out / "tuning.csv"
    for method in chosen.methods:
        for number, trial in enumerate(TRIALS):
            for start in TUNING:
                with lock(chosen.out / ".locks" / f"tune-{method}-{number}-{start.name}") as ours:
                    key = {"start": start.name, "method": method, "seed": str(number)}
                    if ours and not any(all(row[k] == v for k, v in key.items()) for row in read_runs(rows)):
                        row, _ = run(params, chosen, start, method, number, trial, VALIDATION_SEED)
                        append(rows, FIELDS, [row], KEY)
    write_json(chosen.out / "chosen.json", best_of(read_runs(rows)))


def best_of(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Method -> the trial with the largest mean pair accuracy, the earlier one of equals."""
    chosen: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        scores: dict[int, list[float]] = {}
        for row in rows:
            if row["method"] == method:
                scores.setdefault(int(row["seed"]), []).append(float(row["pair_accuracy"]))
        means = {number: sum(values) / len(values) for number, values in sorted(scores.items())}
        best = max(means, key=lambda number: means[number])
        chosen[method] = {"values": TRIALS[best]._asdict(), "pair_accuracy": means[best], "trials": len(means)}
    return chosen


def _once(params: Params, chosen: argparse.Namespace, start: Start, method: str, seed: int, trial: Trial) -> None:
    """A run that is missing and that no other command has in hand."""
    name = f"{start.name}-{method}-{seed}"
    with lock(chosen.out / ".locks" / name) as ours:
        done = {tuple(row[key] for key in KEY) for row in read_runs(chosen.out / "runs.csv")}
        if not ours or (start.name, method, str(seed)) in done:
            return
        row, points = run(params, chosen, start, method, seed, trial, TEST_SEED)
        append(chosen.out / "curves.csv", CURVE_FIELDS, points, KEY)
        append(chosen.out / "runs.csv", FIELDS, [row], KEY)
    print(f"contest: {name}: pairs {row['pair_accuracy']:.3f} (before {row['pair_accuracy_before']:.3f})", flush=True)


class Watch(TrainerCallback):
    """Counts operations as training goes, tests it every few steps, and ends it when the budget is used."""

    def __init__(self, size: Size, policy: Policy, asked: Sequence[Asked], spent: Operations) -> None:
        self.size, self.policy, self.asked, self.spent = size, policy, asked, spent
        self.points: list[dict[str, Any]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After every optimizer step."""
        over = self.spent.total >= self.size.budget
        if state.global_step % self.size.every == 0 or over:
            with self.spent.paused():
                self.policy.model.eval()
                scores = pair_scores(self.asked, answers(self.policy, [question.record for question in self.asked]))
                self.policy.model.train()
            self.points.append({"steps": state.global_step, "flops": self.spent.total, **scores})
        control.should_training_stop |= over


def run(
    params: Params, chosen: argparse.Namespace, start: Start, method: str, seed: int, trial: Trial, test_seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train and test once: a row of runs.csv and the rows of its curve."""
    from tasks.grpo.data import render
    from tasks.grpo.train import train

    began = time.monotonic()
    size = Size(**{name: getattr(chosen, name) for name in Size._fields})
    key = {"start": start.name, "method": method, "seed": seed}
    folder, workers, data = make(start, params), params.ingest.workers, paths.WORK_DATA / "contest"
    tests = quadruples(data / f"test-{test_seed + seed}-{size.scenes}", size.scenes, test_seed + seed, workers)
    quick = quadruples(data / f"quick-{QUICK_SEED}-{size.quick_scenes}", size.quick_scenes, QUICK_SEED, workers)
    mixed = split("contest-test", size.mixed_rows, test_seed + seed, 0.0, workers)
    by = start.shortcut
    learn = split(f"contest-rl-{by}", size.rl_rows, RL_SEED + seed, chosen.rl_bias, workers, shortcuts=(by,))
    grpo = settings(method, params.grpo, trial, size.most_steps)
    processor, model = load_processor(folder), load_model(folder, "float32", "cpu")
    work = paths.WORK_MODELS / "contest" / f"{start.name}-{method}-{seed}-{test_seed}"
    clear(work)  # operations are counted from the first step on: a stopped run begins anew
    with open_store(params.video.opening(), grpo.frame_cache_gb, params.video.decode_workers) as clips:
        policy = _policy(model, processor, clips, params)
        before = evaluate(policy, tests, mixed)
        with counted() as spent:
            watch = Watch(size, policy, [question for question in quick if question.variant != STATIC], spent)
            result = train(
                model,
                processor,
                render(learn, processor, **params.prompt.model_dump()),
                clips=clips,
                settings=grpo,
                seed=seed,
                work=work,
                curve=work / "curve.csv",
                on_skip=lambda record, reason: print(f"contest: {record.path}: {reason}", file=sys.stderr),
                callbacks=[watch],
            )
        trained = result.trainer.accelerator.unwrap_model(result.trainer.model).eval()
        scores = evaluate(policy._replace(model=trained), tests, mixed)
    clear(work)
    row = {
        **key,
        **trial._asdict(),
        "steps": result.trainer.state.global_step,
        "flops": spent.total,
        "seconds": round(time.monotonic() - began, 1),
        **{name: round(value, 6) for name, value in scores.items()},
        **{f"{name}_before": round(before[name], 6) for name in ("pair_accuracy", "temporal", "static")},
    }
    return row, [{**key, **{name: round(value, 6) for name, value in point.items()}} for point in watch.points]


def _policy(model: Any, processor: Any, clips: ClipStore, params: Params) -> Policy:
    grpo = params.grpo
    return Policy(model, processor, clips, params.prompt.model_dump(), grpo.sampling.max_tokens, grpo.reward_variant)


if __name__ == "__main__":
    run_stage(main, ParamsError, ModelError, json.JSONDecodeError)
