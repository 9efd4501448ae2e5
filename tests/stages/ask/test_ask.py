"""ask: what it reads, prints and refuses."""

import re
import subprocess
import sys

import pytest
import yaml

from tasks import paths
from tasks.ask import __main__ as stage
from tasks.core.engine.types import Completion
from tasks.core.video import VideoError
from tasks.core.video import open as open_module
from tests.support import bad_readers
from tests.support.infer_project import FakeEngine, make_project


@pytest.fixture
def project(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model)
    return tmp_path


def ask(monkeypatch, *arguments, engine=None):
    monkeypatch.setattr(sys, "argv", ["ask", *map(str, arguments)])
    if engine is not None:
        monkeypatch.setattr(stage, "open_engine", lambda **_: engine)
    return stage.main()


@pytest.mark.parametrize("clip", ["media/1.mp4", "media/2.png"])
def test_answers_with_a_real_model(project, tiny_model, monkeypatch, capsys, clip):
    assert ask(monkeypatch, clip, "Which way?", "--model", tiny_model, "--max-tokens", 6) == 0
    out = capsys.readouterr().out
    assert "no think or answer tags" in out
    assert "cut off after 6 tokens" in out


def test_prints_reasoning_and_answer(project, tiny_model, monkeypatch, capsys):
    engine = FakeEngine()
    ask(monkeypatch, "media/1.mp4", "Which way?", "--model", tiny_model, "--options", "left", "right", engine=engine)
    assert capsys.readouterr().out == "reasoning: because\nanswer: B\n"
    assert "A. left" in engine.seen[0].prompt
    assert "B. right" in engine.seen[0].prompt


@pytest.mark.parametrize(
    ("options", "given", "kind"),
    [([], None, "free-form"), (["x", "y"], None, "multiple choice"), ([], "numerical", "numerical")],
)
def test_problem_type(project, options, given, kind):
    assert stage.question("media/1.mp4", "?", options, given).problem_type == kind


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["media/none.mp4", "?"], "media/none.mp4: no such file", id="missing clip"),
        pytest.param(["media/broken.mp4", "?"], "media/broken.mp4", id="broken clip"),
        pytest.param(["media/1.mp4", "?", "--model", "nowhere"], "nowhere: no such model folder", id="missing model"),
        pytest.param(["media/1.mp4", "?", "--model", "media"], "media: not a model folder", id="not a model"),
        pytest.param(["media/1.mp4"], "required: question", id="no question"),
    ],
)
def test_wrong_commands_are_one_line_and_exit_2(project, tiny_model, arguments, said):
    model = [] if "--model" in arguments else ["--model", str(tiny_model)]
    command = [sys.executable, "-m", "tasks.ask", *arguments, *model]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("end", bad_readers.TORN)
def test_a_clip_that_ends_its_reader_is_told(project, tiny_model, monkeypatch, end):
    (project / "media/1.mp4").rename(project / "media/torn.mp4")
    reader, says = bad_readers.TORN[end]
    monkeypatch.setattr(open_module, "read_resized", reader)
    params = yaml.safe_load(paths.PARAMS.read_text())
    params["video"] |= {"read_limit_seconds": 3.0}
    paths.PARAMS.write_text(yaml.safe_dump(params))
    with pytest.raises(VideoError, match=re.escape(f"media/torn.mp4: {says}")):
        ask(monkeypatch, "media/torn.mp4", "?", "--model", tiny_model, engine=FakeEngine())


def environment():
    import os
    from pathlib import Path

    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}


def test_a_question_that_cannot_be_answered_is_an_error(project, tiny_model, monkeypatch):
    class Refusing(FakeEngine):
        def generate(self, requests, **_):
            return [[Completion("", finish_reason="error", error="too long")]]

    with pytest.raises(stage.EngineError, match="too long"):
        ask(monkeypatch, "media/1.mp4", "?", "--model", tiny_model, engine=Refusing())
