"""What commands of many runs share: rows appended whole, locks, splits rendered once."""

import pytest

from measure import runs
from measure.runs import append, lock, read_runs, split


def test_rows_are_appended_and_replace_those_of_their_key(tmp_path):
    file = tmp_path / "runs.csv"
    assert read_runs(file) == []
    for seed in range(2):
        append(file, ("method", "seed", "score"), [{"method": "a", "seed": seed, "score": 0.5}], ("method", "seed"))
    assert [row["seed"] for row in read_runs(file)] == ["0", "1"]
    append(file, ("method", "seed", "score"), [{"method": "a", "seed": 0, "score": 0.7}], ("method", "seed"))
    assert [(row["seed"], row["score"]) for row in read_runs(file)] == [("1", "0.5"), ("0", "0.7")], "not twice"


def test_a_row_with_a_field_too_many_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "runs.csv"
    append(file, ("seed", "score"), [{"seed": 0, "score": 1}], ("seed",))
    with pytest.raises(ValueError, match="steps"):
        append(file, ("seed", "score"), [{"seed": 1, "score": 1}, {"seed": 1, "steps": 2}], ("seed",))
    assert [row["seed"] for row in read_runs(file)] == ["0"]


def test_a_lock_is_held_by_one_at_a_time_and_freed(tmp_path):
    with lock(tmp_path / "locks/a") as first, lock(tmp_path / "locks/a") as second, lock(tmp_path / "locks/b") as other:
        assert (first, second, other) == (True, False, True)
    with lock(tmp_path / "locks/a") as again:
        assert again


def test_a_split_is_rendered_once_and_its_paths_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SPLITS", tmp_path)
    records = split("side", 4, 7, 0.5, 1, shortcuts=("side",))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.suffix in (".mp4", ".png")}
    assert sorted(times) == sorted((tmp_path / record.path) for record in records)
    assert split("side", 4, 7, 0.5, 1, shortcuts=("side",)) == records
    assert {path: path.stat().st_mtime_ns for path in times} == times
