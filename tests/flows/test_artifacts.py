"""Artifacts are the files of reports/ and the run's results, in rows."""

import json
from types import SimpleNamespace

import pytest

from flows.artifacts import ProgressArtifact, benchmark_rows, stage_rows
from flows.repro import StageResult
from tasks.core.io.progress import Progress


def test_every_planned_stage_has_a_row():
    failed = {"annotate": "annotate: failed with exit code 1"}
    rows = stage_rows([StageResult("ingest", "ran", 1.26)], failed, ["filter"])
    assert rows == [
        {"stage": "ingest", "result": "ran", "seconds": 1.3},
        {"stage": "annotate", "result": "failed: annotate: failed with exit code 1", "seconds": ""},
        {"stage": "filter", "result": "not run", "seconds": ""},
    ]


def entry(value, **fields):
    overall = {"n": 3, "clusters": 3, "value": value, "se": None, "low": None, "high": None}
    named = {"benchmark": "world", "subset": "", "protocol": "pipeline", "frames": 16, "view": "ordered"}
    return {**named, "rows": 3, "answered": 1, "scored": 1, "overall": overall, "groups": {}} | fields


def test_benchmark_rows_are_entries_with_their_score(tmp_path):
    entries = [entry(0.51239), entry(None, view="no_video", frames=0)]
    (tmp_path / "base.json").write_text(json.dumps({"model": "base", "entries": entries}))
    named = {"model": "base", "benchmark": "world", "subset": "", "protocol": "pipeline"}
    figures = {"low": "", "high": "", "scored": 1, "errors": 2}
    assert benchmark_rows(tmp_path) == [
        {**named, "frames": 16, "view": "ordered", "score": 0.5124, **figures},
        {**named, "frames": 0, "view": "no_video", "score": "", **figures},
    ]


@pytest.mark.server
def test_a_stage_has_a_bar_that_moves(prefect_server):
    from prefect import flow
    from prefect.client.orchestration import get_client

    @flow
    def watched() -> None:
        bar = ProgressArtifact("benchmark@grpo")
        bar.show(Progress(1, 4, "answers", 90.0))
        bar.show(Progress(3, 4, "answers", 30.0, "loss=0.5"))

    watched()
    with get_client(sync_client=True) as client:
        [bar] = [each for each in client.read_artifacts() if each.key == "video-r1-benchmark-grpo"]
    assert (bar.data, bar.description) == (75.0, "3 of 4 answers, 30 s left, loss=0.5")


@pytest.mark.server
def test_a_bar_that_the_server_does_not_take_is_told_once_and_stops_nothing(prefect_server, monkeypatch):
    def lost(**arguments):
        raise ConnectionError("server is\naway")

    told: list[str] = []
    monkeypatch.setattr("flows.artifacts.create_progress_artifact", lost)
    monkeypatch.setattr("flows.artifacts.get_run_logger", lambda: SimpleNamespace(warning=told.append))
    bar = ProgressArtifact("sft")
    bar.show(Progress(1, 4, "steps", None))
    bar.show(Progress(2, 4, "steps", None))
    assert told == ["no progress is shown any more: server is away"]


def test_no_benchmark_yet(tmp_path):
    assert benchmark_rows(tmp_path / "benchmark") == []
