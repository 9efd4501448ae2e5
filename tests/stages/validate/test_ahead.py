"""Frames that a second process makes: the same as in one, and no wait without end."""

import os
import signal
from functools import partial

import pandas as pd
import pytest

from tasks.core.io.tables import TableError
from tasks.core.schemas import frames as schemas
from tasks.core.schemas.frames import Shards
from tasks.validate.ahead import made_ahead


def pieces(name, count):
    return [pd.DataFrame({"name": [f"{name} {i}", None], "n": [i, 2], "is_it": [True, False]}) for i in range(count)]


def frames(counts):
    return {name: Shards(partial(lambda made: iter(made), pieces(name, count))) for name, count in counts.items()}


def test_the_frames_are_those_of_one_process():
    counts = {"a": 9, "b": 0, "c": 1, "d": 3}
    with made_ahead(frames(counts), ["c", "a", "b"]) as ahead:
        assert [*ahead] == [*counts]
        for name in ("c", "a", "b"):
            for made, plain in zip(ahead[name], pieces(name, counts[name]), strict=True):
                pd.testing.assert_frame_equal(made, plain)
        assert [frame.rows for frame in ahead.values()] == [18, 0, 2, 0]
        assert len(list(ahead["d"])) == 3  # not asked for ahead: made here


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one}{two}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(TableError("t.parquet: no such table"), TableError, id="a-table"),
        pytest.param(Odd("t.parquet: ", "no such table"), RuntimeError, id="one-that-cannot-be-sent"),
    ],
)
def test_what_a_frame_raises_is_raised_here(error, kind):
    def broken():
        yield from pieces("a", 1)
        raise error

    with made_ahead({"a": Shards(broken)}, ["a"]) as ahead:
        rows = iter(ahead["a"])
        assert len(next(rows)) == 2
        with pytest.raises(kind, match="t.parquet: no such table"):
            next(rows)


def test_a_killed_process_is_told():
    def killed():
        yield from pieces("a", 1)
        os.kill(os.getpid(), signal.SIGKILL)

    with made_ahead({"a": Shards(killed)}, ["a"]) as ahead, pytest.raises(RuntimeError, match="was killed"):
        list(ahead["a"])


def test_one_that_is_not_looked_through_keeps_nobody_waiting():
    with made_ahead(frames({"a": 50}), ["a"]) as ahead:
        next(iter(ahead["a"]))


def test_pieces_are_joined_up_to_the_size_that_is_checked(monkeypatch):
    monkeypatch.setattr(schemas, "_ROWS_CHECKED", 5)
    joined = list(schemas._gathered(pieces("a", 7)))
    assert [len(piece) for piece in joined] == [6, 6, 2]
    pd.testing.assert_frame_equal(pd.concat(joined, ignore_index=True), pd.concat(pieces("a", 7), ignore_index=True))
