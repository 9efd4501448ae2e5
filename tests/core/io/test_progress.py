"""What a stage leaves of its progress."""

import time

import pytest

from tasks.core.io.progress import Progress, duration, forget_progress, note_progress, path_of, read_progress, tracked


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.core.io.progress._noted_at", {})
    monkeypatch.setenv("DVC_STAGE", "benchmark@grpo")
    return tmp_path


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0.2, "0 s", id="nothing"),
        pytest.param(59.4, "59 s", id="seconds"),
        pytest.param(61, "1 min", id="minutes"),
        pytest.param(2 * 3600 + 5 * 60 + 59, "2 h 5 min", id="hours"),
        pytest.param(-3, "0 s", id="over its time"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        pytest.param(Progress(0, 9, "rows", None), "0 of 9 rows", id="not begun"),
        pytest.param(Progress(3, 9, "rows", 61.0), "3 of 9 rows, 1 min left", id="time left"),
        pytest.param(Progress(3, 9, "steps", 5.0, "loss=1"), "3 of 9 steps, 5 s left, loss=1", id="figures"),
    ],
)
def test_told(progress, text):
    assert progress.told() == text


def test_a_bar_leaves_its_end_and_the_next_run_forgets_it():
    for _ in tracked(range(5), unit="row", mininterval=0):
        pass
    left = read_progress("benchmark@grpo")
    assert left is not None and left[:3] == (5, 5, "rows")
    forget_progress("benchmark@grpo")
    assert read_progress("benchmark@grpo") is None


def test_it_is_written_once_a_second_and_at_the_end(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for done, now, expected in [(1, 100.0, 1), (2, 100.5, 1), (3, 101.0, 3), (4, 101.2, 4)]:
        clock[0] = now
        note_progress(Progress(done, 4, "rows", None))
        left = read_progress("benchmark@grpo")
        assert left is not None and left.done == expected


@pytest.mark.parametrize(
    ("name", "value"), [pytest.param("DVC_STAGE", "", id="by hand"), pytest.param("RANK", "1", id="second process")]
)
def test_nothing_is_left_where_nobody_reads_it(folder, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    note_progress(Progress(1, 1, "rows", None))
    assert list(folder.iterdir()) == []


def test_a_torn_file_and_a_folder_that_cannot_be_written_stop_nothing(folder):
    note_progress(Progress(1, 1, "rows", None))
    path_of("benchmark@grpo").write_text('{"done": 1, "to')
    assert read_progress("benchmark@grpo") is None
    path_of("benchmark@grpo").unlink()
    path_of("benchmark@grpo").parent.rmdir()
    path_of("benchmark@grpo").parent.touch()
    note_progress(Progress(1, 1, "rows", None))
