"""Test clips of the contest.

Moving figures are asked for their direction on the clip as it is, reversed, recoloured and mirrored, and on the clip as
it is for what does not move.
"""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.core.io.atomic import write_json
from tasks.core.io.orphan import end_with
from tasks.core.schemas.parsing import parse_record
from tasks.core.schemas.records import Record
from tasks.core.world.counterfactual import STATIC_ON_MOVING, variants
from tasks.core.world.questions import ask
from tasks.core.world.render import clip_seconds, render_frames, write_clip
from tasks.core.world.scene import sample_scene
from tasks.core.world.split import raw_record

STATIC = "static"
"""Variant of a question of static evidence on the forward clip."""


class Asked(NamedTuple):
    """One question of the test."""

    scene: int
    variant: str
    """forward, reversed, recoloured, mirrored, or `static`."""
    record: Record


def quadruples(folder: Path, scenes: int, seed: int, workers: int) -> list[Asked]:
    """Questions about `scenes` unbiased scenes; rendered once below `folder`."""
    marker = folder / "questions.json"
    if not marker.exists():
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [(folder, scene, seed) for scene in range(scenes)]
        with ProcessPoolExecutor(workers, initializer=end_with, initargs=(os.getpid(),)) as pool:
            write_json(marker, [row for rows in pool.map(_rows, jobs, chunksize=8) for row in rows])
    asked = []
    for scene, variant, raw in json.loads(marker.read_text()):
        record = parse_record(raw, f"{marker} scene {scene}")
        asked.append(Asked(scene, variant, dataclasses.replace(record, path=str(folder / record.path))))
    return asked


def _rows(job: tuple[Path, int, int]) -> list[tuple[int, str, dict[str, Any]]]:
    folder, number, seed = job
    scene = sample_scene("move", np.random.default_rng((seed, number)))
    rows: list[tuple[int, str, dict[str, Any]]] = []
    for place, variant in enumerate(variants(scene, "direction", (seed, number))):
        name = f"{seed}-{number:05d}-{variant.name}.mp4"
        write_clip(folder / name, render_frames(variant.scene, clip_seconds()))
        rows.append(
            (number, variant.name, raw_record(10 * number + place, "video", variant.scene, variant.question, name))
        )
    for place, skill in enumerate(STATIC_ON_MOVING, start=5):
        question = ask(scene, np.random.default_rng((seed, number)), skill)
        name = f"{seed}-{number:05d}-forward.mp4"
        rows.append((number, STATIC, raw_record(10 * number + place, "video", scene, question, name)))
    return rows
