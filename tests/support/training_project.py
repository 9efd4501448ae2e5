"""A project folder for the training stages: two media files that decode, one that does not, a tiny model."""

import dataclasses
import shutil

import numpy as np
import yaml
from PIL import Image

from tasks import paths
from tasks.core.io.tables import write_table
from tasks.core.schemas.records import RECORD_SCHEMA, SFT_SCHEMA
from tasks.core.world.render import write_clip


def make_project(folder, model, *, sft=(), rl=(), dtype="float32", base=None):
    """Fill `folder`, which is the working directory, with media, tables and parameters."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 56, 56, 3), dtype=np.uint8)
    write_clip(folder / "clip.mp4", pixels)
    (folder / "torn.mp4").write_bytes((folder / "clip.mp4").read_bytes()[:200])
    Image.fromarray(pixels[0]).save(folder / "still.png")
    shutil.copytree(model, paths.SFT_MODEL)
    write_table(paths.SFT_ROWS, [dataclasses.asdict(row) | {"reward": 1.0} for row in sft], SFT_SCHEMA)
    write_table(paths.RL_RECORDS, [dataclasses.asdict(row) for row in rl], RECORD_SCHEMA)
    rollouts = {"steps": 2, "prompts_per_step": 2, "group": 2, "save_steps": 1, "sampling": {"max_tokens": 6}}
    params = {
        "seed": 3,
        "models": {"base": str(base or model)},
        "video": {"frames": 4, "min_frames": 2},
        "ingest": {"sources": [{"name": "world", "format": "world", "split": "train"}]},
        "sft": {"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "dtype": dtype},
        "grpo": {
            **rollouts,
            "objective": {"kind": "tgrpo_reward", "completions": 1},
            "dtype": dtype,
            "report_to": ["tensorboard"],
        },
    }
    paths.PARAMS.write_text(yaml.safe_dump(params))
