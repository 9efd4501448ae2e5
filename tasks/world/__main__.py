"""Make the mini models (a frozen stage: `dvc unfreeze world` before `dvc repro world`).

    teacher   sees, reads and reasons
    base      the teacher taught to answer at once: what reasoning needs is still in it for SFT and RL to bring out
    shortcut  the teacher taught a habit: most of its reasoning about motion goes by the side of the picture that the
              figure stays at, whichever way it moves; where `measure.ablation` starts

An interrupted run goes on after its last finished skill: each is kept in models/.work/world/ under a hash of all that
led to it. `--only SKILL` trains one skill again, or a new one, from the shipped model that it starts `after`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks import params, paths
from tasks.core.backbones import UnknownBackboneError
from tasks.core.io.atomic import replace_folder, replacing, write_json
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError
from tasks.core.models.load import load_model, load_processor
from tasks.core.models.weights import check_finite
from tasks.core.world.model import build_model, build_processor
from tasks.core.world.split import draw_row
from tasks.world.evaluate import evaluate
from tasks.world.pretrain import Step, train_skill
from tasks.world.rows import KINDS, draw

CORPUS_ROWS = 4000
CORPUS_KINDS = ("caption", "direct", "reason")
STEPS = "steps.json"
"""Log of a finished skill, in its work folder."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the curriculum of the `world` section, or one skill of it, and publish its models."""
    parser = OneLineParser(prog="python -m tasks.world", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="SKILL", help="train one skill that says what it starts `after`, from there")
    chosen = parser.parse_args(arguments)
    p = params.load()
    if chosen.only is not None:
        again(p, chosen.only)
        return
    processor = build_processor(p.world.architecture, corpus(p.prompt.model_dump(), p.seed), p.world.vocabulary)
    steps: list[Step] = []
    report: dict[str, Any] = {}
    for number, skill in enumerate(p.world.curriculum):
        done = work_folder(p, number) / STEPS
        if done.exists():
            print(f"world: {skill.name} is finished", flush=True)
            steps += [Step(*entry) for entry in json.loads(done.read_text())]
        else:
            model, start = start_of(p, number, processor)
            own = train(model, start, p, number)
            save(model, start, work_folder(p, number), own)
            steps += own
        if skill.save_as is not None:
            report |= finish(p, number)
    write_curve(paths.curve(p.world.name), curve_rows(steps))
    write_json(paths.metrics(p.world.name), report)


def again(p: params.Params, name: str) -> None:
    """Train one skill from the shipped model that it starts after; its figures and curve replace the former ones.

    Raises:
        StageError: no such skill, or one that starts where the one before it ended, which is not shipped.
    """
    able = {skill.name: number for number, skill in enumerate(p.world.curriculum) if skill.after is not None}
    if name not in able:
        raise StageError(f"--only {name}: no skill that says `after`; those that do: {', '.join(able) or 'none'}")
    number = able[name]
    folder = paths.world_models(p.world.name) / str(p.world.curriculum[number].after)
    model, processor = load_model(folder, dtype="float32"), load_processor(folder)
    own = train(model, processor, p, number)
    save(model, processor, work_folder(p, number), own)
    metrics, curve = paths.metrics(p.world.name), paths.curve(p.world.name)
    report = json.loads(metrics.read_text()) | finish(p, number)
    with curve.open(newline="") as file:
        others = [row for row in csv.DictReader(file) if row["skill"] != name]
    write_curve(curve, [*others, *curve_rows(own, start=max(int(row["step"]) for row in others))])
    write_json(metrics, report)


def train(model: Any, processor: Any, p: params.Params, number: int) -> list[Step]:
    """Train one skill in place; returns its log."""
    skill, steps = p.world.curriculum[number], list[Step]()
    train_skill(
        model,
        processor,
        name=skill.name,
        mix={str(kind): share for kind, share in skill.mix.items()},
        steps=skill.steps,
        rows=skill.rows,
        decay=skill.decay,
        muon_lr=p.world.muon_lr,
        adamw_lr=p.world.adamw_lr,
        seed=p.seed * 1000 + number,
        prompt=p.prompt.model_dump(),
        log=lambda step: _log(step, steps),
    )
    return steps


def finish(p: params.Params, number: int) -> dict[str, Any]:
    """Publish what a skill ended with, and score what is published."""
    name = str(p.world.curriculum[number].save_as)
    folder = paths.world_models(p.world.name) / name
    publish(work_folder(p, number), folder, p.world.published_dtype)
    model, processor = load_model(folder, dtype="float32"), load_processor(folder)
    size = {"weights": sum(weight.numel() for weight in model.parameters())}
    return size | score(model, processor, name, p.world.eval_rows, p.seed, p.prompt.model_dump())


def lineage(curriculum: Sequence[params.Skill], number: int) -> list[int]:
    """Numbers of the skills that lead to one, itself last.

    Raises:
        StageError: it starts after a model that no earlier skill saves.
    """
    skill = curriculum[number]
    if skill.after is None:
        return [*(lineage(curriculum, number - 1) if number else []), number]
    saved = [before for before in range(number) if curriculum[before].save_as == skill.after]
    if not saved:
        raise StageError(f"world.curriculum: {skill.name} starts after {skill.after}, which no skill before it saves")
    return [*lineage(curriculum, saved[-1]), number]


def work_folder(p: params.Params, number: int) -> Path:
    """Where a skill's result is kept: named by a hash of all that leads to it."""
    world = p.world.model_dump(exclude={"curriculum", "eval_rows", "name", "published_dtype"})
    skills = [
        p.world.curriculum[i].model_dump(exclude={"save_as", "after"}) for i in lineage(p.world.curriculum, number)
    ]
    parts = json.dumps([p.seed, p.prompt.model_dump(), world, skills], sort_keys=True)
    return paths.WORK_MODELS / "world" / hashlib.sha256(parts.encode()).hexdigest()[:16]


def start_of(p: params.Params, number: int, processor: Any) -> tuple[Any, Any]:
    """Model and processor that a skill starts with; the first one's are new."""
    before = lineage(p.world.curriculum, number)[:-1]
    if before:
        folder = work_folder(p, before[-1])
        return load_model(folder, dtype="float32"), load_processor(folder)
    w = p.world
    shape = {"hidden_size": w.hidden_size, "layers": w.layers, "heads": w.heads, "vision_layers": w.vision_layers}
    return build_model(processor, architecture=w.architecture, **shape, seed=p.seed), processor


def save(model: Any, processor: Any, folder: Path, steps: list[Step]) -> None:
    """Keep a finished skill; its log comes last and marks it complete."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_json(folder / STEPS, steps)


def publish(source: Path, target: Path, dtype: str) -> None:
    """Copy weights, as `dtype`, and processor files to where the pipeline reads them, whole or not at all.

    Raises:
        ModelError: the weights are damaged, or not finite as `dtype`; `target` stays as it is.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model = load_model(source, dtype="float32")
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns(STEPS))
        if dtype != "float32":
            model = model.to(getattr(torch, dtype))
            check_finite(target, model)
            model.save_pretrained(partial)
        replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def score(model: Any, processor: Any, name: str, rows: int, seed: int, prompt: dict[str, str]) -> dict[str, Any]:
    """Accuracy of a finished model, greedy and at temperature 1."""
    report = {}
    for label, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        scores = evaluate(model, processor, rows=rows, seed=seed + 1, temperature=temperature, prompt=prompt)
        report[f"{name}_{label}"] = scores
        print(f"{name} {label}: {scores}", flush=True)
    return report


def corpus(prompt: dict[str, str], seed: int) -> list[str]:
    """Text the tokenizer is trained on: what captions, answers and reasoning say."""
    rng = np.random.default_rng((seed, CORPUS_ROWS))
    rows = [draw(str(rng.choice(CORPUS_KINDS)), rng, draw_row, **prompt) for _ in range(CORPUS_ROWS)]
    return ["\n".join([*(part["text"] for m in row.messages for part in m["content"] if "text" in part), row.target])
            for row in rows]  # fmt: skip


def curve_rows(steps: Sequence[Step], start: int = 0) -> list[dict[str, Any]]:
    """Rows of the curve: steps counted on from `start`, loss and accuracy of each kind of row that a skill has."""
    rows, total, previous = [], start, 0
    for entry in steps:
        total += entry.step - previous if entry.step > previous else entry.step
        previous = entry.step
        values = [(f"loss_{kind}", value) for kind, value in entry.loss.items()]
        values += [(f"accuracy_{kind}", value) for kind, value in entry.accuracy.items()]
        rows.append({"step": total, "skill": entry.skill} | {name: f"{value:.4f}" for name, value in values})
    return rows


def write_curve(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """CSV, one line per logged step; empty cells where a skill has no such rows."""
    columns = ["step", "skill", *(f"loss_{kind}" for kind in KINDS), *(f"accuracy_{kind}" for kind in KINDS)]
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _log(step: Step, steps: list[Step]) -> None:
    steps.append(step)
    parts = [f"{kind} {step.loss[kind]:.3f}/{step.accuracy[kind]:.3f}" for kind in step.loss]
    print(f"{step.skill} {step.step} {step.seconds:.0f} s  loss/accuracy: {'  '.join(parts)}", flush=True)


if __name__ == "__main__":
    run_stage(main, params.ParamsError, UnknownBackboneError)
