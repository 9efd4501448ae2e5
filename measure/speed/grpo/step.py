"""Whole steps of a run of params.yaml on clips of the mini world: rollouts, rewards, update and optimizer."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from measure.speed.grpo.job import LEVERS
from tasks.core.models.load import frame_shape_in, load_model, load_processor
from tasks.core.schemas.parsing import parse_record
from tasks.core.train.clips import open_store
from tasks.core.world import make_split
from tasks.grpo.data import render
from tasks.grpo.train import train
from tasks.params import Grpo, Params

SCENES = 11
"""Seed of the clips."""


class StepTimes(TrainerCallback):
    """Seconds of every step, wall and processor."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.processor: list[float] = []
        self._begun = (0.0, 0.0)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Before the rollouts."""
        self._begun = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """After the optimizer."""
        self.wall.append(time.perf_counter() - self._begun[0])
        self.processor.append(time.process_time() - self._begun[1])


def with_levers(settings: Grpo, on: bool, steps: int) -> Grpo:
    """The settings as they are, or with every lever off; `steps` long, without checkpoints."""
    changes: dict[str, Any] = {"steps": steps, "save_steps": steps + 1, "report_to": []}
    return settings.model_copy(update=changes | ({} if on else dict.fromkeys(LEVERS, False)))


def measure_steps(params: Params, model: Path, on: bool, steps: int) -> dict[str, Any]:
    """Seconds of `steps` steps after a warm one, each on clips that were not decoded before.

    Args:
        params: the prompts' wording, the clips' frames and the `grpo` section.
        model: where the policy starts.
        on: whether its levers are on.
        steps: how many count.

    Returns:
        Lists `wall` and `processor`, and the mean `length` of an answer in tokens.
    """
    times = StepTimes()
    processor = load_processor(model)
    settings = with_levers(params.grpo, on, steps + 1)
    opening, workers = (
        {**params.video.opening(), **frame_shape_in(model)._asdict(), "disk_cache_gb": 0.0},
        params.video.decode_workers,
    )
    with tempfile.TemporaryDirectory() as name, open_store(opening, settings.frame_cache_gb, workers) as clips:
        folder = Path(name)
        raw = make_split(folder, settings.steps * settings.prompts_per_step, SCENES, 0.0, 1, label="perf")
        parsed = [parse_record(row, f"row {number}") for number, row in enumerate(raw)]
        records = [dataclasses.replace(record, path=str(folder / record.path)) for record in parsed]
        result = train(
            load_model(model, "float32", "cpu"),
            processor,
            render(records, processor, **params.prompt.model_dump()),
            clips=clips,
            settings=settings,
            seed=params.seed,
            work=folder / "work",
            curve=folder / "curve.csv",
            on_skip=lambda record, reason: print(f"perf: {record.path}: {reason}", file=sys.stderr),
            callbacks=[times],
        )
    return {"wall": times.wall[1:], "processor": times.processor[1:], "length": result.metrics["length"]}
