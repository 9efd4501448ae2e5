"""Artifacts are the files of reports/ and the run's results, in rows."""

import json

import pytest

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


def group(accuracy):
    return {"n": 3, "accuracy": accuracy, "low": 0.1, "high": 0.9}


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        pytest.param(
            {"ordered": {"overall": group(0.51239), "by_type": {"OCR": group(1.0)}, "errors": 2}},
            [{"model": "base", "view": "ordered", "overall": 0.5124, "errors": 2}],
            id="a group is its accuracy; what is nested deeper stays with the report",
        ),
        pytest.param(
            {"ordered": {"temporal": group(0.5)}, "no_video": {"temporal": group(None), "well_formed": 1.0}},
            [
                {"model": "base", "view": "ordered", "temporal": 0.5, "well_formed": ""},
                {"model": "base", "view": "no_video", "temporal": "", "well_formed": 1.0},
            ],
            id="every row has every column",
        ),
        pytest.param({}, [], id="no view"),
    ],
)
def test_benchmark_rows(tmp_path, views, expected):
    (tmp_path / "base.json").write_text(json.dumps({"model": "base", "rows": 3, "views": views}))
    assert benchmark_rows(tmp_path) == expected


def test_no_benchmark_yet(tmp_path):
    assert benchmark_rows(tmp_path / "benchmark") == []
