"""A project folder for the training stages: two media files that decode, one that does not, a tiny model."""

import dataclasses
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from tasks import paths
from tasks.core.io.tables import write_table
from tasks.core.schemas.records import RECORD_SCHEMA, SFT_SCHEMA
from tasks.core.world.render import write_clip


@pytest.fixture
def project(tiny_model, tmp_path, monkeypatch):
    """`project(sft=records, rl=records, dtype=..., base=...)` fills the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(sft=(), rl=(), dtype="float32", base=None):
        pixels = np.random.default_rng(0).integers(0, 256, (20, 56, 56, 3), dtype=np.uint8)
        write_clip(tmp_path / "clip.mp4", pixels)
        (tmp_path / "torn.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes()[:200])
        Image.fromarray(pixels[0]).save(tmp_path / "still.png")
        shutil.copytree(tiny_model, paths.SFT_MODEL, dirs_exist_ok=True)
        write_table(paths.SFT_ROWS, [dataclasses.asdict(row) | {"reward": 1.0} for row in sft], SFT_SCHEMA)
        write_table(paths.RL_RECORDS, [dataclasses.asdict(row) for row in rl], RECORD_SCHEMA)
        paths.PARAMS.write_text(
            yaml.safe_dump(
                {
                    "seed": 3,
                    "models": {"base": str(base or tiny_model)},
                    "video": {"frames": 4, "min_frames": 2},
                    "ingest": {"sources": [{"name": "world", "format": "world", "split": "train"}]},
                    "sft": {"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "dtype": dtype},
                    "grpo": {
                        "steps": 2,
                        "prompts_per_step": 2,
                        "group": 2,
                        "sampling": {"max_tokens": 6},
                        "temporal": {"shuffled": 1},
                        "save_steps": 1,
                        "dtype": dtype,
                    },
                }
            )
        )

    return make
