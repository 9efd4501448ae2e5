"""Waiting for clips that are decoded ahead, told in one line."""

import pytest

from measure.speed.decode import ahead_line, waits


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_clip_is_read_once_for_each_use(workers):
    read = []
    assert waits(read.append, ["a", "b", "a"], 0.0, workers) >= 0
    assert sorted(read) == ["a", "a", "b"]


def test_the_line_names_workers_and_work():
    assert ahead_line({0: 231.04, 1: 0.2}, 300.0) == (
        "\nwait for a clip, 300 ms of other work after each, by workers: 231.0 ms with 0, 0.2 ms with 1\n"
    )
