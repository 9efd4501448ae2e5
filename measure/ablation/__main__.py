"""`python -m measure.ablation`: every method on every seed, one row of runs.csv as each run ends, then the table.

For each seed an RL split of the mini world is rendered with a shortcut (side and colour give the direction away in
`--bias` of the questions) and a test split without it; all methods of a seed share both, and start from `--model`.
Stopped and started again, it goes on: finished runs are skipped, the unfinished one resumes from its checkpoint.
Several commands share the runs: each takes one that no other has in hand, and two of one thread outrun one of two.

    reports/ablation/runs.csv        one row per run; the seconds of one that was stopped are those of its last sitting
    reports/ablation/skills.csv      accuracy of each run by skill asked for
    reports/ablation/settings.json   what the runs have in common; other settings want another --out
    reports/ablation/curves/         curve of each run
    reports/ablation/table.md        means, intervals, paired tests
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure.ablation.arms import METHODS, arm
from measure.ablation.evaluate import Scores, evaluate
from measure.ablation.table import FIELDS, SKILL_FIELDS, markdown
from measure.runs import append, lock, read_runs, rounded, split
from tasks import grpo, paths
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.digests import folder_digest, work_key
from tasks.core.io.errors import StageError
from tasks.core.io.given import real_number, whole_number
from tasks.core.models.load import ModelError, checkpoint_digest, frame_shape_in, load_model, load_processor
from tasks.core.train.clips import ClipStore, open_store
from tasks.core.train.runs import clear
from tasks.params import Grpo, Params, ParamsError, load

TRAINER = Path(grpo.__file__).parent
KEY = ("method", "seed")
BASELINES = ("grpo_equal_compute", "grpo")
RL_SEED, TEST_SEED = 1000, 2000
"""World seeds of a run's splits start here; the pipeline's own are below."""
SPEED = {
    *("micro_batch", "encode_once", "share_prefix", "share_prefix_update", "skip_zero_advantage"),
    *("gradient_checkpointing", "selective_checkpointing", "cache_features_gb", "frame_cache_gb"),
    *("rollout_gpu_share", "rollout_sleep", "save_steps", "report_to", "drop_ended", "guards"),
}
"""Fields of the `grpo` section that decide how fast a run is, not what comes of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, then write the table."""
    chosen = parse(arguments)
    params = load()
    runs = chosen.out / "runs.csv"
    changes = {"steps": chosen.steps, "learning_rate": chosen.learning_rate}
    params = params.model_copy(update={"grpo": params.grpo.model_copy(update=changes)})
    pin_settings(chosen.out / "settings.json", common(params, chosen))
    for seed in range(chosen.seeds):
        for method in chosen.methods:
            with lock(chosen.out / ".locks" / f"{method}-{seed}") as ours:
                if not ours or (method, seed) in {(row["method"], int(row["seed"])) for row in read_runs(runs)}:
                    continue
                row, scores = run(params, chosen, method, seed)
                append(chosen.out / "skills.csv", SKILL_FIELDS, skill_rows(row, scores), KEY)
                append(runs, FIELDS, [row], KEY)
            print(
                f"ablation: {method}, seed {seed}: temporal {row['temporal_accuracy']:.3f}, "
                f"shuffled {row['temporal_accuracy_shuffled']:.3f}, static {row['static_accuracy']:.3f}"
            )
            write_text(chosen.out / "table.md", markdown(read_runs(runs), METHODS, BASELINES))
    write_text(chosen.out / "table.md", markdown(read_runs(runs), METHODS, BASELINES))
    print(f"ablation: {len(read_runs(runs))} runs -> {chosen.out / 'table.md'}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = OneLineParser(prog="python -m measure.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=whole_number(), default=6, help="seeds 0, 1, ...")
    parser.add_argument(
        "--bias", type=real_number(least=0), default=0.8, help="share of RL questions with the shortcut"
    )
    parser.add_argument("--steps", type=whole_number(), default=24, help="optimizer steps of a run")
    parser.add_argument("--learning-rate", type=real_number(above=0), default=0.0005)
    parser.add_argument("--rl-rows", type=whole_number(), default=600)
    parser.add_argument("--test-rows", type=whole_number(), default=400)
    parser.add_argument("--model", type=Path, default=paths.SHORTCUT_MODEL, help="where every method starts")
    parser.add_argument("--out", type=Path, default=paths.REPORTS / "ablation")
    return parser.parse_args(arguments)


def common(params: Params, chosen: argparse.Namespace) -> dict[str, Any]:
    """What decides the results of all runs of one table."""
    return {
        "bias": chosen.bias,
        "rl_rows": chosen.rl_rows,
        "test_rows": chosen.test_rows,
        "model": checkpoint_digest(chosen.model),
        "prompt": params.prompt.model_dump(),
        "video": params.video.sampling(),
        "grpo": params.grpo.model_dump(mode="json", exclude=SPEED | {"group", "objective"}),
        "methods": {
            method: settings.model_dump(mode="json", include={"group", "objective"})
            for method in METHODS
            if (settings := arm(method, params.grpo)) is not None
        },
    }


def pin_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings down, or refuse when the runs beside them were made with others; methods may be added.

    Raises:
        StageError: names what differs.
    """
    before = json.loads(path.read_text()) if path.exists() else settings
    known, asked = before.get("methods", {}), settings.get("methods", {})
    different = sorted(key for key in settings if key != "methods" and before.get(key) != settings[key])
    different += sorted(name for name in known.keys() & asked.keys() if known[name] != asked[name])
    if different:
        raise StageError(f"{path.parent} holds runs of other settings ({', '.join(different)}); choose another --out")
    write_json(path, settings | ({"methods": asked | known} if asked or known else {}))


def skill_rows(row: dict[str, Any], scores: Scores) -> list[dict[str, Any]]:
    """Rows of skills.csv of one run."""
    run_of = {name: row[name] for name in ("method", "seed")}
    return [run_of | {"skill": skill} | rounded(score._asdict()) for skill, score in scores.skills.items()]


def run(params: Params, chosen: argparse.Namespace, method: str, seed: int) -> tuple[dict[str, Any], Scores]:
    """Train one method on one seed and score it: a row of runs.csv, and the scores by skill."""
    from tasks.grpo.data import render

    start = time.monotonic()
    test = split("ablation-test", chosen.test_rows, TEST_SEED + seed, 0.0, params.ingest.workers)
    processor, model = load_processor(chosen.model), load_model(chosen.model, "float32", "cpu")
    settings, rollouts = arm(method, params.grpo), 0
    opening = params.video.opening() | frame_shape_in(chosen.model)._asdict()
    with open_store(opening, params.grpo.frame_cache_gb, params.video.decode_workers) as clips:
        if settings is not None:
            model, rollouts = trained(model, processor, settings, clips, params, chosen, method, seed)
        scores = evaluate(
            model,
            processor,
            render(test, processor, **params.prompt.model_dump()),
            clips,
            seed=seed,
            max_tokens=params.grpo.sampling.max_tokens,
            variant=params.grpo.reward_variant,
        )
    row = {
        "method": method,
        "seed": seed,
        "temporal_accuracy": round(scores.temporal, 6),
        "static_accuracy": round(scores.static, 6),
        "temporal_accuracy_shuffled": round(scores.temporal_shuffled, 6),
        "rollouts": rollouts,
        "seconds": round(time.monotonic() - start, 1),
    }
    return row, scores


def trained(
    model: Any,
    processor: Any,
    settings: Grpo,
    clips: ClipStore,
    params: Params,
    chosen: argparse.Namespace,
    method: str,
    seed: int,
) -> tuple[Any, int]:
    """The model after RL on the seed's biased split, and how many answers that took; keeps the run's curve."""
    from tasks.grpo.data import render
    from tasks.grpo.log import RolloutLog
    from tasks.grpo.train import train

    learn = split("ablation-rl", chosen.rl_rows, RL_SEED + seed, chosen.bias, params.ingest.workers)
    video, prompt = params.video.sampling(), params.prompt.model_dump()
    used = {**settings.model_dump(), "seed": seed, "prompt": prompt, "video": video}
    key = work_key(**used, model=folder_digest(chosen.model), code=folder_digest(TRAINER))
    work = paths.WORK_MODELS / "ablation" / key / f"{method}-{seed}"
    curve = chosen.out / "curves" / f"{method}-{seed}.csv"
    result = train(
        model,
        processor,
        render(learn, processor, **prompt),
        clips=clips,
        settings=settings,
        seed=seed,
        work=work,
        curve=curve,
        on_skip=lambda record, reason: print(f"ablation: {record.path}: {reason}", file=sys.stderr),
    )
    write_text(curve, result.curve)
    rollouts = RolloutLog(work / "rollouts").count(settings.steps)
    clear(work)
    return result.trainer.accelerator.unwrap_model(result.trainer.model).eval(), rollouts


if __name__ == "__main__":
    run_stage(main, ParamsError, ModelError)
