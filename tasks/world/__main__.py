"""Make the mini base model and teacher (a frozen stage: `dvc unfreeze world` before `dvc repro world`).

The teacher sees, reads and reasons. The base is the same model taught to answer at once: it no longer reasons before it
answers, but what reasoning needs is still in it for SFT and RL to bring out. An interrupted run goes on after its last
finished skill: each is kept in models/.work/world/ under a hash of all that led to it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tasks import params, paths
from tasks.core.io.atomic import replacing, write_json
from tasks.core.io.cli import run_stage
from tasks.core.models.load import load_model, load_processor
from tasks.core.world.model import build_model, build_processor
from tasks.world.evaluate import evaluate
from tasks.world.pretrain import Step, train_skill
from tasks.world.rows import KINDS, draw

CORPUS_ROWS = 4000


def main() -> None:
    """Train the curriculum of the `world` section and publish its models."""
    p = params.load()
    prompt = {"template": p.prompt.template, "system": p.prompt.system}
    processor = build_processor(corpus(prompt, p.seed), p.world.vocabulary)
    model, processor, start, steps = resume(p, processor)
    report: dict[str, Any] = {"weights": sum(weight.numel() for weight in model.parameters())}
    for number, skill in enumerate(p.world.curriculum):
        if number >= start:
            train_skill(
                model,
                processor,
                name=skill.name,
                mix=skill.mix,
                steps=skill.steps,
                rows=skill.rows,
                decay=skill.decay,
                muon_lr=p.world.muon_lr,
                adamw_lr=p.world.adamw_lr,
                seed=p.seed * 1000 + number,
                prompt=prompt,
                log=lambda step: _log(step, steps),
            )
            save(model, processor, work_folder(p, number + 1), steps)
        if skill.save_as is not None:
            finished = load_model(str(work_folder(p, number + 1)), dtype="float32")
            publish(work_folder(p, number + 1), Path(p.models[skill.save_as]))
            report |= score(finished, processor, skill.save_as, p.world.eval_rows, p.seed, prompt)
    write_curve(paths.curve("world"), steps)
    write_json(paths.metrics("world"), report)


def work_folder(p: params.Params, skills: int) -> Path:
    """Where the model after the first `skills` skills is kept: named by a hash of all that leads to it."""
    world = p.world.model_dump(exclude={"curriculum", "eval_rows"})
    curriculum = [skill.model_dump(exclude={"save_as"}) for skill in p.world.curriculum[:skills]]
    parts = json.dumps([p.seed, p.prompt.model_dump(), world, curriculum], sort_keys=True)
    return paths.WORK_MODELS / "world" / hashlib.sha256(parts.encode()).hexdigest()[:16]


def resume(p: params.Params, processor: Any) -> tuple[Any, Any, int, list[Step]]:
    """Model and processor after the longest finished part of the curriculum, how many skills that is, and their log."""
    for skills in range(len(p.world.curriculum), 0, -1):
        folder = work_folder(p, skills)
        if (folder / "steps.json").exists():
            print(f"world: going on after {p.world.curriculum[skills - 1].name}", flush=True)
            steps = [Step(*entry) for entry in json.loads((folder / "steps.json").read_text())]
            return load_model(str(folder), dtype="float32"), load_processor(str(folder)), skills, steps
    w = p.world
    model = build_model(
        processor,
        hidden_size=w.hidden_size,
        layers=w.layers,
        heads=w.heads,
        vision_layers=w.vision_layers,
        seed=p.seed,
    )
    return model, processor, 0, []


def save(model: Any, processor: Any, folder: Path, steps: list[Step]) -> None:
    """Keep a finished skill; `steps.json` comes last and marks it complete."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_json(folder / "steps.json", steps)


def publish(source: Path, target: Path) -> None:
    """Copy weights and processor files to where the pipeline reads them."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("steps.json"))


def score(model: Any, processor: Any, name: str, rows: int, seed: int, prompt: dict[str, str]) -> dict[str, Any]:
    """Accuracy of a finished model, greedy and at temperature 1."""
    report = {}
    for label, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        scores = evaluate(model, processor, rows=rows, seed=seed + 1, temperature=temperature, prompt=prompt)
        report[f"{name}_{label}"] = scores
        print(f"{name} {label}: {scores}", flush=True)
    return report


def corpus(prompt: dict[str, str], seed: int) -> list[str]:
    """Text the tokenizer is trained on."""
    rng = np.random.default_rng((seed, CORPUS_ROWS))
    rows = [draw(str(rng.choice(KINDS)), rng, **prompt) for _ in range(CORPUS_ROWS)]
    return ["\n".join([*(part["text"] for m in row.messages for part in m["content"] if "text" in part), row.target])
            for row in rows]  # fmt: skip


def write_curve(path: Path, steps: list[Step]) -> None:
    """CSV, one line per logged step: loss and accuracy of each kind of row (empty where a skill has none)."""
    total, previous = 0, 0
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "skill", *(f"loss_{k}" for k in KINDS), *(f"accuracy_{k}" for k in KINDS)])
        for entry in steps:
            total += entry.step - previous if entry.step > previous else entry.step
            previous = entry.step
            cells = [[f"{values[k]:.4f}" if k in values else "" for k in KINDS] for values in entry[2:4]]
            writer.writerow([total, entry.skill, *cells[0], *cells[1]])


def _log(step: Step, steps: list[Step]) -> None:
    steps.append(step)
    parts = [f"{kind} {step.loss[kind]:.3f}/{step.accuracy[kind]:.3f}" for kind in step.loss]
    print(f"{step.skill} {step.step} {step.seconds:.0f} s  loss/accuracy: {'  '.join(parts)}", flush=True)


if __name__ == "__main__":
    run_stage(main)
