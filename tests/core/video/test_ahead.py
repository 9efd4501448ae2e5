"""Reading ahead: the same values and errors in the same order, bounded, and nothing left behind."""

import multiprocessing
import subprocess
import sys
import threading

import pytest

from tasks.core.video.ahead import Ahead, in_batches

SECONDS = 20
"""What a test waits for another thread before it fails."""


class Reader:
    """Reads text as its upper case; notes which thread did, and raises what `broken` says."""

    def __init__(self, broken=None):
        self.ahead, self.here, self.broken = [], [], dict(broken or {})
        self._moved = threading.Condition()

    def __call__(self, key):
        with self._moved:
            (self.here if threading.current_thread() is threading.main_thread() else self.ahead).append(key)
            self._moved.notify_all()
        if key in self.broken:
            raise self.broken[key]
        return key.upper()

    def wait_until_ahead(self, keys):
        with self._moved:
            assert self._moved.wait_for(lambda: set(keys) <= set(self.ahead), SECONDS), self.ahead


@pytest.fixture(autouse=True)
def others():
    """Threads that were there before: a test elsewhere that failed may have left some."""
    BEFORE[:] = threading.enumerate()


BEFORE: list[threading.Thread] = []


def ours():
    return [thread for thread in threading.enumerate() if thread.name == "ahead" and thread not in BEFORE]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize(
    ("expected", "taken"),
    [
        pytest.param("abcd", "abcd", id="as expected"),
        pytest.param("abcd", "dcba", id="backwards"),
        pytest.param("", "abc", id="nothing expected"),
        pytest.param("abcd", "xay", id="others between"),
        pytest.param("aab", "aaba", id="one of them again and again"),
        pytest.param("abcdefgh", "", id="none taken"),
    ],
)
def test_what_is_taken_does_not_depend_on_workers(workers, expected, taken):
    with Ahead(Reader(), workers) as ahead:
        ahead.expect(expected)
        assert [ahead.take(key) for key in taken] == [key.upper() for key in taken]
    assert ours() == []


@pytest.mark.parametrize("error", [ValueError("torn"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_error_is_raised_where_its_value_is_taken_and_the_thread_lives_on(error):
    read = Reader({"b": error})
    with Ahead(read, 1) as ahead:
        ahead.expect("abc")
        read.wait_until_ahead("abc")
        assert ahead.take("a") == "A"
        with pytest.raises(type(error)) as caught:
            ahead.take("b")
        assert caught.value is error and read.here == ["b"], "read again by who asked"
        assert ahead.take("c") == "C"


def test_an_error_that_nobody_asks_for_is_nobodys():
    read = Reader({"b": OSError("torn")})
    with Ahead(read, 1) as ahead:
        ahead.expect("abc")
        read.wait_until_ahead("abc")
        ahead.expect("c")
        assert ahead.take("c") == "C"


def test_what_failed_ahead_and_is_there_when_asked_for_is_given():
    read = Reader({"a": OSError("not yet")})
    with Ahead(read, 1) as ahead:
        ahead.expect("ab")
        read.wait_until_ahead("ab")
        read.broken.clear()
        assert ahead.take("a") == "A"


def test_with_a_thread_nothing_is_read_by_who_asks():
    read = Reader()
    with Ahead(read, 2) as ahead:
        ahead.expect("abc")
        read.wait_until_ahead("abc")
        assert [ahead.take(key) for key in "abc"] == ["A", "B", "C"]
    assert read.here == [] and sorted(read.ahead) == ["a", "b", "c"]


class Gated(Reader):
    """Reads ahead one key for each permit."""

    def __init__(self):
        super().__init__()
        self.permits = threading.Semaphore(0)

    def __call__(self, key):
        value = super().__call__(key)
        if threading.current_thread() is not threading.main_thread():
            assert self.permits.acquire(timeout=SECONDS)
        return value


def test_a_queued_key_is_read_by_who_asks_and_one_under_way_is_waited_for():
    read = Gated()
    with Ahead(read, 1) as ahead:
        ahead.expect("ab")
        read.wait_until_ahead("a")
        assert ahead.take("b") == "B" and read.here == ["b"]
        threading.Timer(0.01, read.permits.release).start()
        assert ahead.take("a") == "A" and read.here == ["b"] and read.ahead == ["a"]


@pytest.mark.parametrize(
    ("limit", "ahead_at_most"),
    [
        pytest.param(1e9, 5, id="room for all"),
        pytest.param(30, 3, id="room for three of ten bytes"),
        pytest.param(39, 3, id="no room for a part"),
        pytest.param(0, 1, id="one always may wait"),
    ],
)
def test_bytes_that_wait_are_bounded(limit, ahead_at_most):
    read = Gated()
    with Ahead(read, 1, size=lambda _: 10, limit=limit) as ahead:
        ahead.expect("v")
        read.permits.release()
        assert ahead.take("v") == "V", "the size of one is known"
        ahead.expect("abcde")
        for _ in range(ahead_at_most):
            read.permits.release()
        read.wait_until_ahead("abcde"[:ahead_at_most])
        for key in "abcde":
            waiting = len(ahead._done) + len(ahead._reading)
            assert waiting <= ahead_at_most
            read.permits.release()
            assert ahead.take(key) == key.upper()


def test_what_is_no_longer_expected_is_dropped():
    read = Reader()
    with Ahead(read, 1) as ahead:
        ahead.expect("ab")
        read.wait_until_ahead("ab")
        ahead.expect("c")
        read.wait_until_ahead("c")
        ahead.take("c")
        assert not ahead._done
        assert ahead.take("a") == "A" and read.here == ["a"]


def test_closed_it_still_reads():
    with Ahead(Reader(), 2) as ahead:
        ahead.expect("ab")
    ahead.expect("cd")
    assert [ahead.take(key) for key in "abc"] == ["A", "B", "C"] and ours() == []


def take_in_child(ahead, out):
    ahead.expect("ab")
    out.put([ahead.take(key) for key in "ab"])
    ahead.close()


def test_a_forked_process_reads_for_itself():
    """Its copy says that `a` is being read, by a thread that is not there."""
    read = Gated()
    with Ahead(read, 1) as ahead:
        ahead.expect("ab")
        read.wait_until_ahead("a")
        context = multiprocessing.get_context("fork")
        out = context.Queue()
        child = context.Process(target=take_in_child, args=(ahead, out))
        child.start()
        assert out.get(timeout=SECONDS) == ["A", "B"]
        child.join(SECONDS)
        assert child.exitcode == 0
        read.permits.release(2)


# A shell starts its background jobs with SIGINT ignored, and children inherit that.
ENDLESS = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from tasks.core.video.ahead import Ahead, in_batches
ahead = Ahead(lambda key: time.sleep(600), 2)
ahead.expect("abc")
{end}
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        pytest.param("sys.exit(3)", 3, id="never closed"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -15, id="SIGTERM"),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -2, id="SIGINT"),
        pytest.param("next(in_batches('abcd', 1, lambda key: key == 'a' or time.sleep(600), 1)); 1 / 0", 1, id="error"),
    ],
)
def test_a_read_that_never_ends_holds_no_process_back(end, code):
    done = subprocess.run([sys.executable, "-c", ENDLESS.format(end=end)], timeout=60, stderr=subprocess.DEVNULL)
    assert done.returncode == code


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("size", "batches"), [(1, "a b c d e"), (2, "ab cd e"), (5, "abcde"), (9, "abcde")])
def test_batches_in_order(workers, size, batches):
    found = list(in_batches("abcde", size, Reader(), workers))
    assert [items for items, _ in found] == batches.split()
    assert [values for _, values in found] == [list(batch.upper()) for batch in batches.split()]
    assert list(in_batches("", size, Reader(), workers)) == [] and ours() == []


def test_the_next_batch_is_prepared_meanwhile_and_the_one_after_not_yet():
    read = Reader()
    batches = in_batches("abcdef", 2, read, 1)
    next(batches)
    read.wait_until_ahead("cd")
    assert set(read.ahead + read.here) == set("abcd")
    batches.close()
    assert ours() == []
