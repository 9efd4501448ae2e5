"""Data in the published layout: training records, reasoning, six evaluation files numbered from 0, odd media."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.core.world.render import write_clip

EVALUATIONS = ("mvbench", "tempcompass", "videomme", "videommmu", "vsibench", "mmvu")
TRAINING = "Video-R1-data"
OPTIONS = ["A. to the left", "B. to the right", "C. upwards", "D. nowhere"]
TRUTHS = {"multiple choice": "B", "numerical": "2", "OCR": "STOP", "free-form": "a red square", "regression": "3.5"}
IMAGES = {"P": (200, 160), "RGBA": (320, 200), "L": (20, 15), "CMYK": (900, 60)}
"""Mode -> width and height."""
SECONDS, RATE, SIDE = 4, 8, (192, 256)


def write_data(root: Path, clips: Sequence[Path]) -> int:
    """Write everything below `root`; returns the number of media.

    Args:
        root: gets `raw` and `media`.
        clips: real clips, laid beside those that are made here.
    """
    media = root / "media" / TRAINING / "rehearsal"
    media.mkdir(parents=True)
    (root / "raw").mkdir()
    (root / "benchmarks").mkdir()
    videos = [_moving(media / f"moving{number}.mp4", number) for number in range(2)]
    videos += [Path(shutil.copy(clip, media / clip.name)) for clip in clips]
    images = [_image(media / f"{mode.lower()}.{'jpg' if mode == 'CMYK' else 'png'}", mode) for mode in IMAGES]
    rows = [_row(number, kind, path) for number, (kind, path) in enumerate(_paired(videos, images))]
    _write(root / "raw/Video-R1-260k.json", rows)
    reasoned = [row | {"process": f"<think>I look at all of it. It is {_truth(row)}.</think>"} for row in rows]
    _write(root / "raw/Video-R1-COT-165k.json", reasoned[:4])
    for number, name in enumerate(EVALUATIONS):
        folder = root / "media/Evaluation" / name
        folder.mkdir(parents=True)
        kinds = list(TRUTHS)
        row = _row(0, kinds[number % len(kinds)], _moving(folder / "0.mp4", 10 + number))
        path = f"./Evaluation/{name}/0.mp4"
        _write(root / f"raw/eval_{name}.json", [row | {"path": path, "problem": f"{name}: {row['problem']}"}])
    return len(videos) + len(images) + len(EVALUATIONS)


def _paired(videos: Sequence[Path], images: Sequence[Path]) -> list[tuple[str, Path]]:
    """Every problem type and every medium at least once."""
    kinds, media = list(TRUTHS), [*videos, *images]
    return [(kinds[number % len(kinds)], path) for number, path in enumerate(media)]


def _row(number: int, kind: str, path: Path) -> dict[str, Any]:
    is_video = path.suffix == ".mp4"
    return {
        "problem_id": number,
        "problem": f"Question {number}: what of the square in this {'video' if is_video else 'image'}?",
        "data_type": "video" if is_video else "image",
        "problem_type": kind,
        "options": OPTIONS if kind == "multiple choice" else [],
        "process": "",
        "solution": f"<answer>{TRUTHS[kind]}</answer>",
        "path": f"./rehearsal/{path.name}",
        "data_source": "rehearsal",
    }


def _truth(row: dict[str, Any]) -> str:
    return TRUTHS[row["problem_type"]]


def _moving(path: Path, seed: int) -> Path:
    """A square that moves to the right over noise."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 80, (SECONDS * RATE, *SIDE, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        left = 8 + number * 6
        frame[60:100, left : left + 40] = (220, 30 + 20 * (seed % 8), 30)
    write_clip(path, frames, RATE)
    return path


def _image(path: Path, mode: str) -> Path:
    width, height = IMAGES[mode]
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows))
