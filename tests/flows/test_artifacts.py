"""Artifacts are the files of reports/ and the run's results, in rows."""

import json

from flows.artifacts import benchmark_rows, stage_rows
from flows.repro import StageResult


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


def test_no_benchmark_yet(tmp_path):
    assert benchmark_rows(tmp_path / "benchmark") == []
