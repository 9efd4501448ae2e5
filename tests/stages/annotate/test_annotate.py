"""annotate: resume, isolation of bad rows, metrics."""

import json

import pytest

from tasks import paths
from tasks.annotate import __main__ as stage
from tasks.annotate.annotate import metrics
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import EngineError
from tasks.core.io.tables import read_table
from tasks.core.schemas.records import COT_SCHEMA
from tasks.core.video import open as open_module
from tests.support import bad_readers
from tests.support.infer_project import RECORDS, FakeEngine, Killed, make_project, params_of, write_params


@pytest.fixture
def project(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    return tmp_path


def outputs():
    return read_table(paths.COT, COT_SCHEMA), json.loads(paths.metrics("annotate").read_text())


def dying_engine(monkeypatch, batches):
    """The real engine, killed after so many batches."""

    def open_and_die(**settings):
        engine = open_engine(**settings)
        generate, left = engine.generate, iter(range(batches))

        def generate_or_die(*args, **kwargs):
            if next(left, None) is None:
                raise Killed
            return generate(*args, **kwargs)

        engine.generate = generate_or_die
        return engine

    monkeypatch.setattr(stage, "open_engine", open_and_die)


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_killed_and_resumed_equals_undisturbed(project, monkeypatch, batches):
    stage.main()
    undisturbed = outputs()
    paths.COT.unlink()
    dying_engine(monkeypatch, batches)
    with pytest.raises(Killed):
        stage.main()
    assert not paths.COT.exists(), "nothing is published before the end"
    monkeypatch.setattr(stage, "open_engine", open_engine)
    stage.main()
    assert outputs() == undisturbed


def test_a_clip_that_hangs_its_reader_costs_its_rows_and_no_more(project, tiny_model, monkeypatch):
    monkeypatch.setattr(stage, "open_engine", lambda **_: FakeEngine())
    monkeypatch.setattr(open_module, "read_resized", bad_readers.hang_on_first)
    video = params_of(tiny_model)["video"] | {"read_limit_seconds": 3.0, "disk_cache_gb": 0}
    write_params(tiny_model, video=video)
    stage.main()
    rows, _ = outputs()
    hung = {record.problem_id for record in RECORDS if record.path in ("media/1.mp4", "media/broken.mp4")}
    assert {row["problem_id"] for row in rows if row["finish_reason"] == "error"} == hung
    [log] = [row for row in rows if row["problem_id"] == 1]
    assert log["completion"] == ""


def test_resume_asks_only_for_what_is_left(project, monkeypatch):
    engine = FakeEngine(die_at=2)
    monkeypatch.setattr(stage, "open_engine", lambda **_: engine)
    with pytest.raises(Killed):
        stage.main()
    engine.die_at = None
    stage.main()
    asked = [request.prompt.split("Question ")[1][0] for request in engine.seen]
    assert sorted(asked) == ["1", "2", "4", "5", "6", "7"], "each once, the broken clip never"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"seed": 4}, id="seed"),
        pytest.param({"annotate": {"sampling": {"temperature": 0.5, "max_tokens": 8}}}, id="sampling"),
        pytest.param({"video": {"frames": 2, "min_frames": 2}}, id="frames"),
        pytest.param({"prompt": {"system": "Be brief."}}, id="prompt"),
    ],
)
def test_work_of_other_inputs_is_not_resumed(project, tiny_model, monkeypatch, change):
    engine = FakeEngine(die_at=2)
    monkeypatch.setattr(stage, "open_engine", lambda **_: engine)
    with pytest.raises(Killed):
        stage.main()
    write_params(tiny_model, **change)
    engine.die_at, engine.seen = None, []
    stage.main()
    assert len(engine.seen) == 6


def test_a_forced_run_starts_afresh(project, monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(stage, "open_engine", lambda **_: engine)
    stage.main()
    stage.main()
    assert len(engine.seen) == 12


def test_a_broken_clip_costs_one_row(project, monkeypatch, capsys):
    monkeypatch.setattr(stage, "open_engine", lambda **_: FakeEngine())
    stage.main()
    rows, summary = outputs()
    assert [row["problem_id"] for row in rows] == [one.problem_id for one in RECORDS]
    assert [row["finish_reason"] for row in rows] == ["stop", "stop", "error", "stop", "stop", "stop", "stop"]
    assert rows[2]["completion"] == rows[2]["answer"] == ""
    assert rows[0]["reward"] == 1.0
    assert (summary["rows"], summary["errors"], summary["mean_tokens"]) == (7, 1, 3.0)
    assert summary["accuracy"]["multiple choice"] == 1.0
    assert "problem 3: media/broken.mp4" in capsys.readouterr().out


def test_nothing_answered_is_an_error(project, monkeypatch):
    for path in (project / "media").iterdir():
        path.write_bytes(b"")
    monkeypatch.setattr(stage, "open_engine", lambda **_: FakeEngine())
    with pytest.raises(EngineError, match="none of 7 rows.*media/1.mp4"):
        stage.main()
    assert not paths.COT.exists()


def test_metrics_of_nothing_are_none():
    assert metrics([], {})["mean_reward"] is None
