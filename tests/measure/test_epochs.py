"""SFT by epochs: what a row holds, and the table."""

import pytest

from measure import epochs
from measure.contest.evaluate import Result
from tasks.core.schemas.records import Record


def questions(number):
    kind = ("", "multiple choice", ["A. left", "B. right"], "", "<answer>B</answer>")
    return [Record(n, "?", "video", *kind[1:], f"clip {n}", temporal=n % 2 == 0) for n in range(number)]


def results(right):
    return [Result(flag, "B", well_formed=flag or n == 0) for n, flag in enumerate(right)]


def test_a_row_holds_scores_and_the_gain_over_the_number_before():
    first = epochs.summary(results([False, True, False, True]), questions(4), None)
    assert (first["accuracy"], first["temporal"], first["static"], first["well_formed"]) == (0.5, 0.0, 1.0, 0.75)
    assert first["gain"] == ""
    second = epochs.summary(results([True, True, False, True]), questions(4), [0.0, 1.0, 0.0, 1.0])
    assert second["gain"] == pytest.approx(0.25) and second["gain_low"] < 0.25 < second["gain_high"]


def test_the_command_writes_a_row_and_the_table_as_each_run_ends(tmp_path, monkeypatch):
    right = {1.0: [False, True, False, True], 2.0: [True, True, False, True]}
    monkeypatch.setattr(epochs, "split", lambda *_: questions(4))
    monkeypatch.setattr(epochs, "score", lambda _, number, __: (results(right[number]), {"steps": 5, "loss": 0.25}))
    assert epochs.main(["2", "1", "--out", str(tmp_path)]) == 0
    lines = (tmp_path / "epochs.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| 1", "| 2"]
    assert "| 75.0 (" in lines[-1] and lines[-1].count("25.0 (") == 1 and lines[-2].endswith("|  |")
