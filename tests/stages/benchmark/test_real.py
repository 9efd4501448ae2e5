"""The stage's own command on public benchmarks: TempCompass-like rows and clips through the mini model."""

import json
import sys
from pathlib import Path

import pytest

from tasks import paths
from tasks.benchmark import __main__ as stage
from tasks.benchmark import log
from tasks.core.io.errors import StageError
from tests.support.infer_project import make_project

ROOT = Path(__file__).parents[3]
TEMPCOMPASS = ROOT / "tests/fixtures/tempcompass"
MINI = ROOT / "models/world/base"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        benchmark = {
            "sampling": {"temperature": 0.01, "top_p": 0.001, "max_tokens": 24},
            "official_max_tokens": 12,
            "rows": 1,
            "views": ["ordered", "no_video"],
            "annotations_root": str(TEMPCOMPASS),
            "suites": [{"name": "tempcompass", "annotations": str(TEMPCOMPASS)}],
        }
        engine = {"backend": "transformers", "max_model_len": 2048, "batch_size": 32}
        make_project(folder, MINI, benchmark=benchmark, engine=engine)
        patch.setattr(sys, "argv", ["benchmark", "run", "base"])
        stage.main()
        yield folder


def rows(folder):
    return list(log.read(folder / paths.answers("base") / "tempcompass.jsonl").values())


def test_every_row_is_answered_from_its_gif(project):
    found = rows(project)
    assert {row["error_class"] for row in found} == {""}
    assert len([row for row in found if (row["protocol"], row["view"]) == ("official", "ordered")]) == 32
    assert {Path(row["media"]).name for row in found} == {"2000000001.gif", "2000000001_reverse.gif"}
    ordered = [row for row in found if row["view"] == "ordered"]
    assert all(row["frame_indices"] == sorted(row["frame_indices"]) and row["width"] for row in ordered)
    assert any(row["completion"] for row in found)


def test_numbers_are_by_task_and_both_clips_are_one_cluster(project):
    numbers = json.loads((project / paths.metrics("benchmark", "base")).read_text())
    public = [one for one in numbers["entries"] if one["benchmark"] == "tempcompass"]
    [official] = [one for one in public if (one["protocol"], one["view"]) == ("official", "ordered")]
    assert (official["rows"], official["answered"], official["scored"]) == (32, 32, 24)
    assert official["overall"]["clusters"] == 1
    assert set(official["groups"]["task"]) == {"multi-choice", "yes_no", "caption_matching"}
    assert set(official["groups"]["fine_aspect"]) == {"object motion"}
    [ours] = [one for one in public if (one["protocol"], one["view"]) == ("video_r1", "ordered")]
    assert ours["rows"] == 24, "captions are no question of that protocol"
    about = {one["protocol"]: one for one in numbers["question_sets"]}
    assert about["video_r1"]["left_out_by_protocol"] == 8
    assert "multi-choice: 6 of 1580 rows" in about["official"]["incomplete"]


def test_rescore_by_command_leaves_all_as_it_is(project, monkeypatch):
    monkeypatch.chdir(project)
    before = paths.metrics("benchmark", "base").read_text(), rows(project)
    monkeypatch.setattr(sys, "argv", ["benchmark", "rescore", "base"])
    stage.main()
    assert (paths.metrics("benchmark", "base").read_text(), rows(project)) == before


def test_compare_by_command_names_the_model_that_was_not_asked(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["benchmark", "compare", "base", "teacher"])
    with pytest.raises(StageError, match="no answers of teacher; run `dvc repro benchmark@teacher` first"):
        stage.main()


def test_compare_by_command_writes_every_changed_answer(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    other = paths.answers("teacher")
    other.mkdir(parents=True)
    flipped = [row | {"official": None if row["official"] is None else 1 - row["official"]} for row in rows(project)]
    log.settle(other / "tempcompass.jsonl", flipped)
    monkeypatch.setattr(sys, "argv", ["benchmark", "compare", "base", "teacher"])
    stage.main()
    made = json.loads(paths.comparison("base", "teacher").read_text())["comparisons"]
    [official] = [one for one in made if one["protocol"] == "official"]
    assert len(official["flips"]) == official["n"] == 24
    assert "McNemar" in capsys.readouterr().out
