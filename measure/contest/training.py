"""One run of the contest: train a start by a method until its operations are used, and test it before and after."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from measure.contest.evaluate import Policy, answers, evaluate, pair_scores
from measure.contest.flops import Operations, counted
from measure.contest.methods import METHODS, Trial, settings
from measure.contest.quadruples import STATIC, Asked, quadruples
from measure.contest.remedies import MOVING
from measure.contest.starts import Start, folder_of
from measure.contest.table import BEFORE
from measure.contest.teaching import by_sft, settings_of
from measure.runs import lock, rounded, split
from tasks import paths
from tasks.core.io.atomic import write_json
from tasks.core.models.load import load_model, load_processor
from tasks.core.schemas.records import Record
from tasks.core.train.clips import ClipStore, open_store
from tasks.core.train.runs import clear
from tasks.params import Grpo, Params

DATA = paths.WORK_DATA / "contest"
RL_SEED, TEST_SEED, VALIDATION_SEED, QUICK_SEED = 11_000, 12_000, 13_000, 14_000
"""World seeds of splits; the pipeline's own are below. Validation is never tested on, nor the test tuned on."""


class Size(NamedTuple):
    """How large a run is."""

    budget: float
    """Operations that training may take."""
    most_steps: int
    """Steps of RL after which it ends even so."""
    every: int
    """Steps between the points of a curve; of SFT, whose steps take a third of the operations, three times as many."""
    rl_rows: int
    """Rows rendered; those without a moving figure beyond as many as have one are left out."""
    rl_bias: float
    """Share of moving figures of the RL split that are given away by the start's shortcut."""
    scenes: int
    """Quadruples of the test."""
    quick_scenes: int
    """Quadruples of a curve's point."""
    mixed_rows: int


WHOLE = Size(6e12, most_steps=240, every=20, rl_rows=800, rl_bias=0.8, scenes=80, quick_scenes=16, mixed_rows=320)


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
    params: Params,
    size: Size,
    start: Start,
    method: str,
    seed: int,
    trial: Trial,
    test_seed: int,
    measure: Callable[[Policy, Sequence[Asked], Sequence[Record]], dict[str, float]] = evaluate,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train and test once: a row of runs.csv and the rows of its curve.

    Args:
        params: of the project; `settings` says what of its grpo section counts.
        size: how large the run is.
        start: made already.
        method: one of METHODS.
        seed: of RL rows, prompts' order, rollouts and test scenes.
        trial: values of the method.
        test_seed: TEST_SEED, or VALIDATION_SEED to tune.
        measure: takes the measures after training; before it, all are taken.
    """
    began = time.monotonic()
    key = {"start": start.name, "method": method, "seed": seed}
    folder, workers = folder_of(start), params.ingest.workers
    tests, mixed = tests_of(size, test_seed + seed, workers)
    quick = quadruples(DATA / f"quick-{QUICK_SEED}-{size.quick_scenes}", size.quick_scenes, QUICK_SEED, workers)
    processor, model = load_processor(folder), load_model(folder, "float32", "cpu")
    work = paths.WORK_MODELS / "contest" / f"{start.name}-{method}-{seed}-{test_seed}"
    clear(work)  # operations are counted from the first step on: a stopped run begins anew
    with open_store(params.video.opening(), params.grpo.frame_cache_gb, params.video.decode_workers) as clips:
        policy = policy_of(model, processor, clips, params)
        before = scores_before(start, size, test_seed + seed, policy, tests, mixed)
        with counted() as spent:
            rows = METHODS[method].remedy(policy, learning(start, size, seed, workers), pairs_folder(start, size, seed))
            watch = Watch(size, policy, [question for question in quick if question.variant != STATIC], spent)
            if METHODS[method].objective is None:
                watch.size = size._replace(every=3 * size.every)
                own = METHODS[method].own_answers
                trainer = by_sft(params, policy, rows, settings_of(params.sft, trial), seed, work, [watch], own)
            else:
                grpo = settings(method, params.grpo, trial, size.most_steps)
                trainer = by_grpo(grpo, policy, rows, seed, work, [watch])
        trained = trainer.accelerator.unwrap_model(trainer.model).eval()
        scores = measure(policy._replace(model=trained), tests, mixed)
    clear(work)
    row = {
        **key,
        **trial._asdict(),
        "steps": trainer.state.global_step,
        "flops": spent.total,
        "seconds": round(time.monotonic() - began, 1),
        **rounded(scores),
        **rounded({f"{name}_before": before[name] for name in BEFORE}),
    }
    return row, [{**key, **rounded(point)} for point in watch.points]


def by_grpo(
    grpo: Grpo, start: Policy, rows: Sequence[Record], seed: int, work: Path, callbacks: Sequence[TrainerCallback] = ()
) -> Any:
    """The trainer after RL on `rows`; `callbacks` may end it."""
    from tasks.grpo.data import render
    from tasks.grpo.train import train

    result = train(
        start.model,
        start.processor,
        render(rows, start.processor, **start.prompt),
        clips=start.clips,
        settings=grpo,
        seed=seed,
        work=work,
        curve=work / "curve.csv",
        on_skip=lambda record, reason: print(f"row left out: {record.path}: {reason}", file=sys.stderr),
        callbacks=callbacks,
    )
    return result.trainer


def on_quadruples(policy: Policy, asked: Sequence[Asked], _: Sequence[Record]) -> dict[str, float]:
    """The measures that values are chosen by."""
    return pair_scores(asked, answers(policy, [question.record for question in asked]))


def learning(start: Start, size: Size, seed: int, workers: int) -> list[Record]:
    """RL rows, half of them of moving figures, given away in `size.rl_bias` of them by what the start reads."""
    name, by = f"contest-rl-{start.shortcut}", (start.shortcut,)
    rows = split(name, size.rl_rows, RL_SEED + seed, size.rl_bias, workers, shortcuts=by)
    moving = [record for record in rows if record.data_source == MOVING]
    others = [record for record in rows if record.data_source != MOVING]
    return [*moving, *others[: len(moving)]]


def pairs_folder(start: Start, size: Size, seed: int) -> Path:
    """Where pairs of a seed's RL rows lie."""
    return DATA / "pairs" / f"{start.shortcut}-{size.rl_rows}-{RL_SEED + seed}-{size.rl_bias}"


def tests_of(size: Size, seed: int, workers: int) -> tuple[list[Asked], list[Record]]:
    """Test of a seed: quadruples and the unbiased mixed split."""
    asked = quadruples(DATA / f"test-{seed}-{size.scenes}", size.scenes, seed, workers)
    return asked, split("contest-test", size.mixed_rows, seed, 0.0, workers)


def scores_before(
    start: Start, size: Size, seed: int, policy: Policy, tests: Sequence[Asked], mixed: Sequence[Record]
) -> dict[str, float]:
    """All measures of the start, kept: methods share them."""
    path = DATA / "starts" / f"{start.name}-{seed}-{size.scenes}-{size.mixed_rows}.json"
    with lock(path.with_suffix(".lock"), wait=True):
        if not path.exists():
            write_json(path, evaluate(policy, tests, mixed))
    scores: dict[str, float] = json.loads(path.read_text())
    return scores


def policy_of(model: Any, processor: Any, clips: ClipStore, params: Params) -> Policy:
    """A model as `evaluate` asks it."""
    grpo = params.grpo
    return Policy(model, processor, clips, params.prompt.model_dump(), grpo.sampling.max_tokens, grpo.reward_variant)
