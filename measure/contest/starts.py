"""Start models whose shortcut arose by itself, of graded strength.

A model with random weights learns to see by captions and then to reason, as the mini models do, but in a share of all
scenes with a moving figure something else gives the direction away. What is said stays "starts at the left and ends at
the right, so it moves right"; that it is colour, side or background which the model reads is nowhere in words.

    bias        share of moving figures that are given away
    shortcut    by what: colour, side, background
    late        from which skill on; before it scenes are unbiased, and motion has been learned. `sft`: no skill, but
                the base model of params.yaml after SFT on what its teacher answers right of a biased split, as
                annotate, filter and sft make a model
    seed        of weights and rows

A start lies in models/.work/starts/<name>/, marked by start.json; what is there is not made again.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from measure.contest.evaluate import Policy
from measure.contest.teaching import by_sft
from measure.runs import split
from tasks import paths
from tasks.core.io.atomic import write_json
from tasks.core.models.load import load_model, load_processor
from tasks.core.train.clips import open_store
from tasks.core.train.runs import clear
from tasks.core.world.model import build_model, build_processor
from tasks.core.world.scene import Scene, sample_scene
from tasks.core.world.split import draw_row
from tasks.params import Params
from tasks.world.__main__ import corpus
from tasks.world.pretrain import Step, train_skill
from tasks.world.rows import Scenes

STARTS = paths.WORK_MODELS / "starts"
MARKER = "start.json"


class Skill(NamedTuple):
    """A step of the curriculum."""

    name: str
    steps: int
    mix: dict[str, float]
    decay: bool


CURRICULUM = (
    Skill("caption", 200, {"caption": 1.0}, False),
    Skill("reason", 190, {"reason": 0.8, "caption": 0.2}, True),
)
"""A third of what `world.curriculum` takes, so that a shortcut has not yet been worn off by the scenes that contradict
it.
"""
MOVING = 0.4
"""Share of scenes that are drawn from those with a moving figure alone: with the others' own ones more than half have
one, without which so few steps teach no motion at all and every start reads its shortcut alone."""
ROWS = 32
"""Rows of a training step."""
SKILLS = tuple(skill.name for skill in CURRICULUM)
TAUGHT = "sft"
TAUGHT_ROWS, TAUGHT_SEED = 1600, 16_000
"""Questions that the teacher is asked, and the world seed of the first such start's."""


class Start(NamedTuple):
    """How a start model was brought up."""

    bias: float
    shortcut: str
    late: str
    """First skill whose scenes are biased."""
    seed: int

    @property
    def name(self) -> str:
        """Folder of the start."""
        return f"{self.shortcut}-{self.bias:g}-{self.late}-{self.seed}"


def folder_of(start: Start) -> Path:
    """Where a start lies."""
    return STARTS / start.name


def is_made(start: Start) -> bool:
    """Whether it does."""
    return (folder_of(start) / MARKER).exists()


def make(start: Start, params: Params) -> Path:
    """Folder of a start model, trained where it is not there yet."""
    folder = folder_of(start)
    if is_made(start):
        return folder
    if start.late == TAUGHT:
        return _make_by_sft(start, params, folder)
    prompt = params.prompt.model_dump()
    w = params.world
    processor = build_processor(w.architecture, corpus(prompt, start.seed), w.vocabulary)
    shape = {"hidden_size": w.hidden_size, "layers": w.layers, "heads": w.heads, "vision_layers": w.vision_layers}
    model = build_model(processor, architecture=w.architecture, **shape, seed=start.seed)
    steps: list[Step] = []
    for number, skill in enumerate(CURRICULUM):
        done = folder / skill.name
        if (done / MARKER).exists():  # a stopped run goes on after its last skill
            model, processor = load_model(done, dtype="float32", device="cpu"), load_processor(done)
            continue
        train_skill(
            model,
            processor,
            name=skill.name,
            mix=skill.mix,
            steps=skill.steps,
            rows=ROWS,
            decay=skill.decay,
            muon_lr=w.muon_lr,
            adamw_lr=w.adamw_lr,
            seed=(start.seed + 1) * 1000 + number,
            prompt=prompt,
            log=lambda step: _log(start, step, steps),
            scenes=scenes_of(start, skill.name),
        )
        _save(model, processor, done, {"steps": [step._asdict() for step in steps if step.skill == skill.name]})
    _save(model, processor, folder, start._asdict())
    return folder


def _make_by_sft(start: Start, params: Params, folder: Path) -> Path:
    """A start whose late skill is `sft`."""
    base = Path(params.base())
    rows = split(
        f"contest-start-{start.shortcut}",
        TAUGHT_ROWS,
        TAUGHT_SEED + start.seed,
        start.bias,
        params.ingest.workers,
        shortcuts=(start.shortcut,),
    )
    work = paths.WORK_MODELS / "contest" / start.name
    clear(work)
    with open_store(params.video.opening(), params.sft.frame_cache_gb, params.video.decode_workers) as clips:
        policy = Policy(
            load_model(base, "float32", "cpu"),
            load_processor(base),
            clips,
            params.prompt.model_dump(),
            params.grpo.sampling.max_tokens,
            params.grpo.reward_variant,
        )
        trainer = by_sft(params, policy, rows, params.sft, start.seed, work)
    _save(trainer.accelerator.unwrap_model(trainer.model).eval(), policy.processor, folder, start._asdict())
    clear(work)
    return folder


def scenes_of(start: Start, skill: str) -> Scenes:
    """How a skill's scenes are drawn."""
    late = SKILLS.index(skill) < SKILLS.index(start.late)
    return partial(draw_moving_or_any, bias=0.0 if late else start.bias, shortcut=start.shortcut)


def draw_moving_or_any(rng: np.random.Generator, bias: float, shortcut: str) -> tuple[str, Scene]:
    """Medium and scene of a row: a moving figure in `MOVING` of them, else whatever the world has."""
    if rng.uniform() < MOVING:
        return "video", sample_scene("move", rng, shortcut_bias=bias, shortcuts=(shortcut,))
    return draw_row(rng, bias, (shortcut,))


def _save(model: Any, processor: Any, folder: Path, facts: dict[str, Any]) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_json(folder / MARKER, json.loads(json.dumps(facts)))


def _log(start: Start, step: Step, steps: list[Step]) -> None:
    steps.append(step)
    losses = "  ".join(f"{kind} {step.loss[kind]:.3f}/{step.accuracy[kind]:.3f}" for kind in step.loss)
    print(f"{start.name}: {step.skill} {step.step} {step.seconds:.0f} s  {losses}", flush=True)
