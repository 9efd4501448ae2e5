"""A split of the mini world: media files and records in Video-R1's format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from tasks.core.io.atomic import replacing
from tasks.core.io.orphan import end_with
from tasks.core.world.questions import Question, ask
from tasks.core.world.render import clip_seconds, render_frames, render_image, write_clip
from tasks.core.world.scene import SHORTCUTS, Scene, sample_scene

# Row kinds and their shares; most video rows ask for frame order.
MIX = (
    ("video", "move", 0.22),
    ("video", "order", 0.16),
    ("video", "turn", 0.12),
    ("video", "blink", 0.10),
    ("video", "enter", 0.10),
    ("video", "still", 0.08),
    ("video", "sign", 0.03),
    ("image", "still", 0.15),
    ("image", "sign", 0.04),
)


def make_split(
    out_dir: Path,
    rows: int,
    seed: int,
    shortcut_bias: float = 0.0,
    workers: int = 1,
    label: str = "world",
    shortcuts: Sequence[str] = SHORTCUTS,
) -> list[dict[str, Any]]:
    """Render `rows` questions with their media under `out_dir`; `shortcuts` as in `sample_scene`.

    Every row has its own random stream derived from (seed, row), so the result depends on neither `workers` nor order.
    Returns raw records; `path` is relative to `out_dir`.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    jobs = [(out_dir, row, seed, shortcut_bias, tuple(shortcuts)) for row in range(rows)]
    if workers == 1:
        return [_row(job) for job in tqdm(jobs, desc=f"render {label}", unit="clip")]
    with ProcessPoolExecutor(workers, initializer=end_with, initargs=(os.getpid(),)) as pool:
        return list(tqdm(pool.map(_row, jobs, chunksize=16), total=rows, desc=f"render {label}", unit="clip"))


def draw_row(
    rng: np.random.Generator, shortcut_bias: float = 0.0, shortcuts: Sequence[str] = SHORTCUTS
) -> tuple[str, Scene]:
    """Medium and scene of one row."""
    shares = np.array([share for _, _, share in MIX])
    medium, kind, _ = MIX[int(rng.choice(len(MIX), p=shares / shares.sum()))]
    return medium, sample_scene(kind, rng, shortcut_bias=shortcut_bias, shortcuts=shortcuts)


def _row(job: tuple[Path, int, int, float, tuple[str, ...]]) -> dict[str, Any]:
    out_dir, row, seed, shortcut_bias, shortcuts = job
    rng = np.random.default_rng((seed, row))
    medium, scene = draw_row(rng, shortcut_bias, shortcuts)
    question = ask(scene, rng)
    name = f"{seed}-{row:06d}.{'mp4' if medium == 'video' else 'png'}"
    if medium == "video":
        write_clip(out_dir / name, render_frames(scene, clip_seconds()))
    else:
        with replacing(out_dir / name) as temporary:
            Image.fromarray(render_image(scene)).save(temporary, format="PNG")
    return raw_record(row, medium, scene, question, name)


def raw_record(number: int, medium: str, scene: Scene, question: Question, name: str) -> dict[str, Any]:
    """A question in Video-R1's format; `name` is the file of its clip, beside the record."""
    return {
        "problem_id": number,
        "problem": question.problem,
        "data_type": medium,
        "problem_type": question.problem_type,
        "options": question.options,
        "process": "",
        "solution": f"<answer>{question.answer}</answer>",
        "path": f"./{name}",
        "data_source": f"world/{scene.kind}",
        "temporal": question.temporal,
        "skill": question.skill,
    }
