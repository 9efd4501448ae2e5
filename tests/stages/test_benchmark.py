"""benchmark: views, the per-sample log, aggregation."""

import json
import math
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from tasks import paths
from tasks.benchmark import __main__ as stage
from tasks.benchmark.aggregate import aggregate, interval
from tasks.benchmark.answer import see, views_of
from tasks.core.engine import base
from tasks.core.io.errors import StageError
from tasks.core.schemas.records import PREDICTION_SCHEMA
from tests.support.infer_project import RECORDS, FakeEngine, Killed, make_project, record, write_params


@pytest.fixture
def project(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmark", "base"])
    make_project(tmp_path, tiny_model)
    return tmp_path


def log():
    return [json.loads(line) for line in paths.predictions("base").read_text().splitlines()]


def row(reward=1.0, view="ordered", path="a.mp4", **changes):
    base_row = {
        "view": view,
        "reward": reward,
        "path": path,
        "temporal": None,
        "problem_type": "numerical",
        "skill": "",
        "well_formed": True,
        "parsed": True,
        "finish_reason": "stop" if reward is not None else "error",
        "tokens": 4,
    }
    return base_row | changes


def test_log_is_sorted_typed_and_complete(project, monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(stage, "open_engine", lambda **_: engine)
    stage.main()
    rows = log()
    assert all(list(one) == PREDICTION_SCHEMA.names for one in rows)
    keys = [(one["view"], one["problem_id"]) for one in rows]
    videos = [one.problem_id for one in RECORDS if one.data_type == "video"]
    everyone = [one.problem_id for one in RECORDS]
    assert keys == [
        *(("ordered", i) for i in everyone),
        *(("shuffled", i) for i in videos),
        *(("no_video", i) for i in everyone),
    ]
    assert {one["error"].split(":")[0] for one in rows if one["problem_id"] == 3} == {"media/broken.mp4"}
    assert all((one["reward"] is None) == (one["problem_id"] == 3) for one in rows)
    report = json.loads(paths.metrics("benchmark", "base").read_text())
    assert report["views"]["ordered"]["errors"] == 1
    assert report["views"]["ordered"]["overall"]["n"] == 6
    assert report["views"]["shuffled"]["overall"]["n"] == 4


def test_views_show_what_they_say(project, monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(stage, "open_engine", lambda **_: engine)
    stage.main()
    seen = {(one.key, one.prompt.split("Question ")[1][0]): one for one in engine.seen}
    ordered, shuffled, blind = (seen[view, "1"] for view in ("ordered", "shuffled", "no_video"))
    assert shuffled.clip.indices != ordered.clip.indices
    assert sorted(shuffled.clip.indices) == ordered.clip.indices
    assert shuffled.prompt == ordered.prompt
    assert ordered.prompt.startswith("[video]")
    assert blind.clip is None
    assert "[video]" not in blind.prompt
    assert "[image]" not in seen["no_video", "2"].prompt
    assert seen["shuffled", "7"].clip.indices != shuffled.clip.indices, "each question has its own shuffle"


def test_killed_and_resumed_equals_undisturbed(project, monkeypatch):
    stage.main()
    undisturbed = paths.predictions("base").read_text(), paths.metrics("benchmark", "base").read_text()
    paths.predictions("base").unlink()

    def open_and_die(**settings):
        engine = base.open_engine(**settings)
        generate, left = engine.generate, iter(range(2))

        def generate_or_die(*args, **kwargs):
            if next(left, None) is None:
                raise Killed
            return generate(*args, **kwargs)

        engine.generate = generate_or_die
        return engine

    monkeypatch.setattr(stage, "open_engine", open_and_die)
    with pytest.raises(Killed):
        stage.main()
    assert not paths.predictions("base").exists()
    monkeypatch.setattr(stage, "open_engine", base.open_engine)
    stage.main()
    assert (paths.predictions("base").read_text(), paths.metrics("benchmark", "base").read_text()) == undisturbed


def test_rows_bounds_the_questions(project, tiny_model, monkeypatch):
    write_params(tiny_model, benchmark={"rows": 2, "views": ["ordered"]})
    monkeypatch.setattr(stage, "open_engine", lambda **_: FakeEngine())
    stage.main()
    assert [one["problem_id"] for one in log()] == [1, 2]


@pytest.mark.parametrize(
    ("name", "said"),
    [pytest.param("bas", "did you mean 'base'", id="typo"), pytest.param("x", "models: base, teacher", id="unknown")],
)
def test_unknown_model_is_one_line(project, monkeypatch, name, said):
    monkeypatch.setattr(sys, "argv", ["benchmark", name])
    with pytest.raises(StageError, match=said):
        stage.main()


def test_missing_checkpoint_is_one_line(project, monkeypatch):
    write_params(project / "gone")
    with pytest.raises(StageError, match="gone: no such model folder"):
        stage.main()


def test_images_have_no_shuffled_view():
    views = ["ordered", "shuffled", "no_video"]
    assert views_of(record(1, "image"), views) == ["ordered", "no_video"]
    assert views_of(record(1), views) == views


def test_a_single_frame_cannot_be_shuffled(make_clip):
    with pytest.raises(ValueError, match="no order to shuffle"):
        see(make_clip(1), "shuffled", 0)


def test_a_shuffle_is_never_the_identity(make_clip):
    clip = make_clip(2)
    assert all(see(clip, "shuffled", seed).indices == [1, 0] for seed in range(50))


def test_errors_are_not_wrong_answers():
    numbers = aggregate("m", [row(1.0), row(0.0), row(None), row(None, view="shuffled")])["views"]
    assert numbers["ordered"]["overall"]["accuracy"] == 0.5
    assert numbers["ordered"]["errors"] == 1
    assert numbers["shuffled"]["overall"] == {"n": 0, "accuracy": None, "low": None, "high": None}


def test_unknown_temporal_is_neither():
    numbers = aggregate("m", [row(temporal=True), row(0.0, temporal=False), row(0.0)])["views"]["ordered"]
    assert [numbers[name]["n"] for name in ("overall", "temporal", "static")] == [3, 1, 1]
    assert numbers["temporal"]["accuracy"] == 1.0


def test_groups_by_type_and_skill():
    rows = [row(1.0, problem_type="OCR", skill="text"), row(0.5, problem_type="OCR"), row(0.0, skill="count")]
    numbers = aggregate("m", rows)["views"]["ordered"]
    assert {kind: group["accuracy"] for kind, group in numbers["by_type"].items()} == {"OCR": 0.75, "numerical": 0.0}
    assert list(numbers["by_skill"]) == ["count", "text"], "an unknown skill is no group"


def test_order_of_the_log_does_not_matter():
    rows = [row(r, path=p, skill=s) for r, p, s in [(1, "a", "x"), (0, "b", "y"), (0.3, "a", "y"), (0.9, "c", "x")]]
    assert aggregate("m", rows) == aggregate("m", rows[::-1])


@pytest.mark.parametrize(("right", "n"), [(50, 100), (97, 100), (3, 40)])
def test_interval_of_single_answers_is_wilsons(right, n):
    values = [1.0] * right + [0.0] * (n - right)
    low, high = interval(values, [str(i) for i in range(n)])
    exact = binomtest(right, n).proportion_ci(method="wilson")
    assert math.isclose(low, exact.low, abs_tol=0.005)
    assert math.isclose(high, exact.high, abs_tol=0.005)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_interval_without_spread_is_wilsons_on_clips(value):
    low, high = interval([value] * 20, [str(i // 2) for i in range(20)])
    exact = binomtest(int(value * 10), 10).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_answers_that_agree_within_clips_widen_the_interval():
    values = [1.0] * 40 + [0.0] * 40
    apart = interval(values, [str(i) for i in range(80)])
    together = interval(values, [str(i // 4) for i in range(80)])
    assert together[1] - together[0] > 1.8 * (apart[1] - apart[0])


def test_interval_covers():
    random = np.random.default_rng(0)
    truth, covered = 0.7, 0
    for _ in range(400):
        clips = random.beta(7, 3, size=40)
        values = (random.random((40, 3)) < clips[:, None]).astype(float).ravel()
        low, high = interval(values.tolist(), [str(i // 3) for i in range(120)])
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_interval_of_nothing_is_nothing():
    assert interval([], []) == (None, None)
