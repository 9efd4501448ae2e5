"""Seconds of the stages of a run."""

import pytest

from tasks.core.io import seconds
from tasks.core.io.seconds import StageSeconds, note_seconds, read_seconds, table


@pytest.mark.parametrize(
    ("variables", "noted"),
    [
        pytest.param({"DVC_STAGE": "sft"}, ["sft"], id="a stage of DVC"),
        pytest.param({"DVC_STAGE": "sft", "RANK": "1"}, [], id="one process of several speaks"),
        pytest.param({}, [], id="a stage by hand is no part of a run"),
    ],
)
def test_only_stages_of_a_run_are_noted(tmp_path, monkeypatch, variables, noted):
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_STAGE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    note_seconds(0)
    assert [row.stage for row in read_seconds(0)] == noted
    assert read_seconds(since=2**40) == []


def test_the_table_adds_up_and_names_a_failure():
    rows = [StageSeconds("sft", 1.0, 10.0, 0), StageSeconds("grpo", 2.0, 20.5, 2)]
    lines = table(rows, 33.0).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["sft", "10.0"],
        ["grpo", "20.5"],
        ["between", "2.5"],
        ["in", "all"],
    ]
    assert lines[1].endswith("failed") and "33.0 s" in lines[3]
    assert table([], 2.4) == "nothing ran; 2 s in all"


def test_a_place_that_cannot_be_written_costs_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "sft")
    monkeypatch.delenv("RANK", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(seconds, "LOG", tmp_path / "file" / "log.jsonl")
    note_seconds(0)


def test_a_line_that_a_full_disk_cut_off_is_not_glued_to_the_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "sft")
    monkeypatch.delenv("RANK", raising=False)
    note_seconds(0)
    with seconds.LOG.open("a") as log:
        log.write('{"stage": "sft", "en')
    note_seconds(0)
    assert [row.stage for row in read_seconds(0)] == ["sft", "sft"]
