"""Experiments side by side: what `dvc exp show` tells, as a table and a page; and two real ones of a tiny project."""

import subprocess
from typing import Any

import pytest
import yaml

from measure import sweep
from measure.sweep import differing, flat, read_experiments, sweep_table
from tasks.core.io.errors import StageError
from tests.support.toy_project import dvc

WANTED = ["reports/report"]


def told(name: str, beta: float, temporal: float | None, **more: Any) -> dict[str, Any]:
    metrics = {"reports/report/grpo.json": {"data": {"temporal": temporal, "static": 0.75}}} if temporal else {}
    metrics |= {"reports/sft/metrics.json": {"data": {"loss": beta}}}
    params = {"params.yaml": {"data": {"grpo": {"beta": beta, "steps": 4}, "seed": 0}}}
    return {"rev": "0" * 40, "name": name, "data": {"params": params, "metrics": metrics}, "error": None} | more


def shown(*experiments: tuple[dict[str, Any], str | None]) -> list[dict[str, Any]]:
    spread = [{"revs": [state], "executor": {"state": word} if word else None} for state, word in experiments]
    return [{"rev": "workspace", "data": {}}, told("main", 0.04, 0.5) | {"experiments": spread}]


def table(*experiments: tuple[dict[str, Any], str | None]) -> tuple[list[str], list[list[str]]]:
    made = sweep_table(read_experiments(shown(*experiments), WANTED))
    return made.head, [[cell.text for cell in row] for row in made.rows]


def test_only_what_differs_has_a_column_and_only_wanted_metrics():
    head, rows = table((told("calm-owl", 0.02, 0.625), "success"), (told("tall-elk", 0.01, 0.25), None))
    assert head == ["experiment", "state", "grpo.beta", "grpo: temporal"]
    assert rows == [
        ["main", "commit", "0.04", "0.5"],
        ["calm-owl", "done", "0.02", "0.625"],
        ["tall-elk", "done", "0.01", "0.25"],
    ]


@pytest.mark.parametrize("word", ["failed", "queued", "running"])
def test_an_experiment_without_results_has_a_row_that_says_so(word):
    failed = {"rev": "abcdef0123", "name": None, "data": None, "error": None}
    _, rows = table((told("calm-owl", 0.02, 0.625), "success"), (failed, word))
    assert rows[-1] == ["abcdef0", word, "–", "–"]


def test_equal_experiments_say_that_nothing_differs():
    made = sweep_table(read_experiments(shown((told("twin", 0.04, 0.5), "success")), WANTED))
    assert made.head == ["experiment", "state"] and made.caption.startswith("no parameter or measure differs")


def test_the_page_escapes_values_and_fetches_nothing():
    made = sweep_table(read_experiments(shown((told("<b>owl", 0.02, 0.625), "success")), WANTED))
    text = sweep.page("Sweep", "1 experiment from main", made)
    assert "grpo.beta" in text and "0.625" in text and "&lt;b&gt;owl" in text
    assert "<script" not in text and "http" not in text


def test_a_value_that_is_missing_in_one_of_them_differs():
    assert differing([{"a": 1, "b": None}, {"a": 1}, {}]) == []
    assert differing([{"a": 1}, {"a": 1, "b": 2}]) == ["b"]


def test_lists_are_values_and_mappings_are_not():
    assert dict(flat({"a": {"b": [1, {"c": 2}]}, "d": {}})) == {"a.b": [1, {"c": 2}]}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param([{"rev": "workspace"}], "tells of 0 commits", id="no commit"),
        pytest.param([{"rev": "abc", "error": {"msg": "no params.yaml"}}], "abc: no params.yaml", id="unreadable"),
    ],
)
def test_what_dvc_cannot_tell_is_an_error(given, text):
    with pytest.raises(StageError, match=text):
        read_experiments(given, WANTED)


STAGE = """
import json, pathlib, yaml

beta = yaml.safe_load(open("params.yaml"))["grpo"]["beta"]
if beta < 0:
    raise SystemExit("a negative beta")
pathlib.Path("reports/report").mkdir(parents=True, exist_ok=True)
pathlib.Path("reports/report/grpo.json").write_text(json.dumps({"temporal": 1 - beta}))
"""
GRAPH = {
    "stages": {
        "grpo": {
            "cmd": "python stage.py",
            "params": ["grpo"],
            "deps": ["stage.py"],
            "metrics": [{"reports/report/grpo.json": {"cache": False}}],
        }
    }
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository of one stage that has run once and is committed."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "Test")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "test@example.org")
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "params.yaml").write_text("grpo: {beta: 0.25}\n")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(GRAPH))
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    assert dvc(tmp_path, "init", "-q").returncode == 0
    done = dvc(tmp_path, "repro", "-q")
    assert done.returncode == 0, done.stderr
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "commit", "-qm", "One run"], check=True)
    return tmp_path


@pytest.mark.slow
def test_a_queued_sweep_is_compared_on_a_page(project, capsys):
    queued = dvc(project, "exp", "run", "-S", "grpo.beta=0.5,0.75", "--queue")
    assert queued.returncode == 0, queued.stderr
    done = dvc(project, "exp", "run", "--run-all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sweep.main([]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert rows[1] == ["experiment", "state", "grpo.beta", "grpo:", "temporal"]
    assert ["commit", "0.25", "0.75"] in [row[1:] for row in rows]
    assert {(row[1], row[2], row[3]) for row in rows[3:5]} == {("done", "0.5", "0.5"), ("done", "0.75", "0.25")}
    page = (project / "reports/sweep/index.html").read_text()
    assert "grpo.beta" in page and "<script" not in page and "http" not in page
    assert "| grpo.beta |" in (project / "reports/sweep/table.md").read_text()


@pytest.mark.slow
def test_a_commit_without_experiments_and_an_unknown_one_are_told(project):
    with pytest.raises(StageError, match="HEAD has no experiments; make some"):
        sweep.main([])
    with pytest.raises(StageError, match="nowhere"):
        sweep.main(["--rev", "nowhere"])
