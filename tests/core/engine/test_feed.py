"""Requests made ready in another thread."""

import threading

import pytest

from tasks.core.engine.feed import Feed


def test_items_in_order_then_nothing():
    with Feed(iter(range(5)), 2) as feed:
        assert [feed.take(wait=True) for _ in range(5)] == list(range(5))
        assert feed.take(wait=True) is None
        assert feed.take(wait=True) is None
        assert feed.ended


def test_what_is_not_ready_is_not_waited_for():
    gate = threading.Event()

    def items():
        gate.wait()
        yield 1

    with Feed(items(), 1) as feed:
        assert feed.take(wait=False) is None
        assert not feed.ended
        gate.set()
        assert feed.take(wait=True) == 1


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise KeyError("x")

    with Feed(items(), 4) as feed:
        assert feed.take(wait=True) == 1
        with pytest.raises(KeyError):
            feed.take(wait=True)


def test_no_more_than_so_many_wait():
    taken, reached = [], threading.Event()

    def items():
        for number in range(100):
            taken.append(number)
            if number == 4:
                reached.set()
            yield number

    with Feed(items(), 3) as feed:
        feed.take(wait=True)
        assert reached.wait(5)
        assert len(taken) == 5, "one taken, three waiting, one in hand"


def test_closing_ends_the_iterable():
    ended = threading.Event()

    def items():
        try:
            yield from range(10)
        finally:
            ended.set()

    with Feed(items(), 1) as feed:
        feed.take(wait=True)
    assert ended.wait(5)


def test_closing_lets_a_waiting_thread_go():
    gate = threading.Event()

    def items():
        gate.wait(20)
        yield 1

    feed = Feed(items(), 1)
    waiting = threading.Thread(target=feed.take, args=(True,), daemon=True)
    waiting.start()
    feed.__exit__()
    waiting.join(5)
    assert not waiting.is_alive()
    gate.set()
