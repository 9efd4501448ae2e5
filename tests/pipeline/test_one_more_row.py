"""A row more in a finished run of 1,000 rows: one file is probed and one question asked."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tasks import paths
from tasks.annotate import __main__ as annotate
from tasks.core.io.tables import read_table
from tasks.core.schemas.records import COT_SCHEMA
from tasks.ingest import __main__ as ingest
from tasks.ingest.manifest import Checker
from tests.support.infer_project import FakeEngine, params_of

pytestmark = pytest.mark.slow
ROWS = 1000


def write_row(number):
    """The picture of a row, and the row."""
    pixels = np.random.default_rng(number).integers(0, 256, (28, 28, 3), np.uint8)
    Image.fromarray(pixels).save(f"media/{number}.png")
    return {
        "problem_id": number,
        "problem": f"What is the number of picture {number}?",
        "data_type": "image",
        "problem_type": "numerical",
        "options": [],
        "solution": f"<answer>{number}</answer>",
        "path": f"{number}.png",
    }


def test_one_row_more_is_one_file_probed_and_one_question(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("media").mkdir()
    source = {"name": "mine", "format": "video_r1", "split": "train", "annotations": "rows.json", "media_root": "media"}
    params = params_of(tiny_model, data_root=".", ingest={"sources": [source], "workers": 1})
    paths.PARAMS.write_text(yaml.safe_dump(params))
    engine, checkers = FakeEngine(answer="<think>so</think><answer>1</answer>"), []
    monkeypatch.setattr(annotate, "open_engine", lambda **_: engine)
    monkeypatch.setattr(ingest, "Checker", lambda *given: checkers.append(Checker(*given)) or checkers[-1])

    def run(rows):
        """(files hashed, files probed, questions asked) of ingest and annotate."""
        Path("rows.json").write_text(json.dumps(rows))
        engine.seen.clear()
        ingest.main()
        annotate.main()
        work = checkers[-1].work
        return work.hashed, work.probed, len(engine.seen)

    rows = [write_row(number) for number in range(ROWS)]
    assert run(rows) == (ROWS, ROWS, ROWS)
    finished = read_table(paths.COT, COT_SCHEMA)
    rows.append(write_row(ROWS))
    assert run(rows) == (1, 1, 1)
    assert f"picture {ROWS}?" in engine.seen[0].prompt
    assert read_table(paths.COT, COT_SCHEMA)[:ROWS] == finished
