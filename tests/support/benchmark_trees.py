"""The seven public benchmarks as their users have them on disk, with invented rows and rendered clips.

Annotation rows are tests/fixtures/benchmarks (the official schemas); every clip they name is rendered here, but one
that is left out and one that does not decode.
"""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from tasks.benchmark.suites import REGISTRY
from tasks.core.engine.types import Completion
from tasks.core.world.render import write_clip

SAMPLES = Path(__file__).parents[1] / "fixtures" / "benchmarks"
SUITES = ("vsi_bench", "video_mmmu", "mmvu", "mvbench", "tempcompass", "video_mme", "video_holmes")
FRAMES, FPS = 80, 4  # 20 seconds: 40 frames at 2 a second, so that caps of 16 and 32 differ
BROKEN = "scannet/scene9901_00.mp4"
MISSING = "scannetpp/aa00bb11cc.mp4"


class Tree(NamedTuple):
    annotations: Path
    media: Path


def annotate(root: Path) -> None:
    """Official annotation files below `root`, one folder per benchmark."""
    copies = {
        "vsibench.jsonl": "vsi_bench/test.jsonl",
        "mmvu.json": "mmvu/validation.json",
        "video_holmes.json": "video_holmes/test_Video-Holmes.json",
    }
    for source, target in copies.items():
        (root / target).parent.mkdir(parents=True)
        shutil.copy(SAMPLES / source, root / target)
    shutil.copytree(SAMPLES / "mvbench", root / "mvbench")
    shutil.copytree(SAMPLES / "tempcompass", root / "tempcompass")
    parquet(root / "video_mme/videomme/test-00000-of-00001.parquet", lines(SAMPLES / "videomme.jsonl"))
    for track, rows in json.loads((SAMPLES / "videommmu.json").read_text()).items():
        picture = {"image": {"bytes": b"png", "path": "a.png"}} if track == "Adaptation" else {}
        parquet(root / f"video_mmmu/{track}/test-00000-of-00001.parquet", [row | picture for row in rows])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def parquet(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)


def render(annotations: Path, media: Path) -> None:
    """Every clip that the annotations name, but MISSING; BROKEN is there and no video."""
    random = np.random.default_rng(0)
    for name in SUITES:
        for sample in REGISTRY[name].read(annotations / name, None).samples:
            path = media / name / sample.media[0]
            if path.exists() or str(path).endswith(MISSING):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if sample.frame_rate is not None:
                path.mkdir()
                for number in range(30):
                    picture = random.integers(0, 256, (56, 56, 3), dtype=np.uint8)
                    Image.fromarray(picture).save(path / f"{number + 1:05d}.jpg")
            elif str(path).endswith(BROKEN):
                path.write_bytes(b"no video at all")
            else:
                write_clip(path, random.integers(0, 256, (FRAMES, 56, 56, 3), dtype=np.uint8), FPS)


def runs(annotations: Path, media: Path, names=SUITES, **changes) -> list[dict]:
    """Fields of `params.SuiteRun` for each benchmark."""
    return [
        {
            "name": name,
            "annotations": str(annotations / name),
            "media": str(media / name),
            "protocols": ["official", "video_r1"],
            "video_r1_file": None,
            "subset": None,
            "limit": None,
        }
        | changes
        for name in names
    ]


class LetterEngine:
    """Says a letter that depends on the request's seed alone; dies before its `die_at`-th batch."""

    def __init__(self, die_at=None):
        self.die_at, self.asked, self.batches = die_at, [], 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def render(self, messages):
        return json.dumps(messages)

    def generate(self, requests, *, temperature, top_p, max_tokens, n=1):
        if self.batches == self.die_at:
            raise KeyboardInterrupt
        self.batches += 1
        self.asked += requests
        return [[Completion(self.say(request), [1] * (1 + request.seed % 3), "stop")] for request in requests]

    def say(self, request):
        letter = "ABCD"[request.seed % 4]
        return [letter, f"<think>so {letter}</think><answer>{letter}</answer>", "3", ""][request.seed // 4 % 4]
