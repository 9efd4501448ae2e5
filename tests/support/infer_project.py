"""A project folder for the generation stages (one clip broken), and an engine that can be killed."""

import dataclasses

import numpy as np
import yaml
from PIL import Image

from tasks import paths
from tasks.core.engine.types import Completion
from tasks.core.io.tables import write_table
from tasks.core.schemas.records import RECORD_SCHEMA, Record
from tasks.core.world.render import write_clip


def params_of(model, **changes):
    base = {
        "seed": 3,
        "models": {"base": str(model), "teacher": str(model)},
        "video": {"frames": 4, "fps": 2.0, "min_frames": 2, "min_pixels": 3136, "max_pixels": 3136},
        "engine": {"backend": "transformers", "max_model_len": 512, "batch_size": 2},
        "ingest": {"sources": [{"name": "world", "format": "world", "split": "train"}]},
        "annotate": {"sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": 8}},
        "benchmark": {"sampling": {"temperature": 0.01, "top_p": 0.001, "max_tokens": 8}},
    }
    return base | changes


def write_params(model, **changes):
    paths.PARAMS.write_text(yaml.safe_dump(params_of(model, **changes)))


def record(problem_id, data_type="video", **changes):
    fields = {
        "problem_id": problem_id,
        "problem": f"Question {problem_id}: which way?",
        "data_type": data_type,
        "problem_type": "multiple choice",
        "options": ["A. left", "B. right"],
        "process": "",
        "solution": "<answer>B</answer>",
        "path": f"media/{problem_id}.{'png' if data_type == 'image' else 'mp4'}",
        "temporal": data_type == "video",
        "skill": "direction" if data_type == "video" else "colour",
    }
    return Record(**(fields | changes))


RECORDS = [
    record(1),
    record(2, "image"),
    record(3, path="media/broken.mp4"),
    record(4),
    record(5, "image", problem_type="free-form", options=[], solution="<answer>red</answer>"),
    record(6, problem_type="numerical", options=[], solution="<answer>2</answer>", temporal=None),
    record(7, path="media/1.mp4"),
]


def make_project(folder, model, **changes):
    """Write everything under `folder`, which is the working directory."""
    (folder / "media").mkdir()
    random = np.random.default_rng(0)
    for one in RECORDS:
        path = folder / one.path
        if one.data_type == "image":
            Image.fromarray(random.integers(0, 256, (56, 56, 3), dtype=np.uint8)).save(path)
        elif "broken" not in one.path and not path.exists():
            write_clip(path, random.integers(0, 256, (8, 56, 56, 3), dtype=np.uint8))
    (folder / "media" / "broken.mp4").write_bytes(b"no video at all")
    rows = [dataclasses.asdict(one) for one in RECORDS]
    for table in (paths.TRAIN_RECORDS, paths.TEST_RECORDS):
        write_table(table, rows, RECORD_SCHEMA)
    write_params(model, **changes)


class Killed(BaseException):
    """Stands for a signal: nothing may catch it."""


class FakeEngine:
    """Answers with the request's seed; dies at the `die_at`-th batch; keeps the requests it saw."""

    def __init__(self, die_at=None, answer="<think>because</think><answer>B</answer>"):
        self.die_at, self.answer, self.seen, self.batches = die_at, answer, [], 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def render(self, messages):
        return "".join(f"[{item['type']}]{item.get('text', '')}" for item in messages[1]["content"])

    def generate(self, requests, *, temperature, top_p, max_tokens, n=1):
        if self.batches == self.die_at:
            raise Killed
        self.batches += 1
        self.seen += requests
        return [[Completion(self.answer, [request.seed % 97] * 3, "stop")] for request in requests]
