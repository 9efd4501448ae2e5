"""Losses of engines: what was under way is asked again, one request costs itself alone, and nothing waits for ever.

Threads of this process are in the place of workers.
"""

import queue
import threading
import time

import pytest

from tasks.core.engine import parallel
from tasks.core.engine.parallel import ParallelEngine
from tasks.core.engine.types import Completion, EngineError, Request
from tasks.core.engine.workers import Lost, Worker

SAMPLED = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12}


class Gathering(Worker):
    """An engine that answers three requests at once, as the transformers engine does, and dies of "poison"."""

    def __init__(self, starts):
        super().__init__()
        self.inbox, self.outbox = queue.Queue(), queue.Queue()
        threading.Thread(target=self.work if starts else self.fail, daemon=True).start()

    def fail(self):
        self.outbox.put(("error", "cannot load weights"))

    def work(self):
        self.outbox.put(("ready", None))
        gathered = []
        while (message := self.inbox.get())[0] != "close":
            if message[0] == "ask":
                gathered.append(message[1:])
            if len(gathered) == 3 or message[0] == "end":
                if any(request.prompt == "poison" for _, request in gathered):
                    return self.outbox.put(("error", "CUDA error: an illegal memory access"))
                for number, request in gathered:
                    if request.prompt == "slow":
                        return None
                    self.outbox.put(("done", (number, [Completion(f"{request.prompt} {request.seed}")])))
                gathered = []

    def send(self, message):
        self.inbox.put(message)

    def receive(self):
        message = self.outbox.get()
        if message[0] == "gone":
            raise Lost("died, exit code -9")
        return message

    def end(self, at_once):
        self.send(("close",))


class Threads:
    """`Launcher` whose workers from number `good` on (in order of their start) do not start."""

    def __init__(self, good=1000):
        self.started, self.good, self.is_closed = [], good, False

    def start(self, number, open_one, arguments):
        self.started.append(Gathering(len(self.started) < self.good))
        return self.started[-1]

    def ready(self, workers, seconds):
        deadline = time.monotonic() + seconds
        while not (full := [worker for worker in workers if not worker.outbox.empty()]) and time.monotonic() < deadline:
            time.sleep(0.005)
        return full

    def close(self):
        self.is_closed = True


@pytest.fixture
def open_threads(monkeypatch):
    monkeypatch.setattr(parallel, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(parallel.load, "load_processor", lambda path: None)

    def make(launcher=None, count=2, **settings):
        return ParallelEngine(launcher or Threads(), None, ".", count=count, batch_size=3, **settings)

    return make


def requests_of(*prompts):
    return [Request(f"{place}", prompt, None, "video", 100 + place) for place, prompt in enumerate(prompts)]


def test_an_engine_that_gathers_is_told_when_nothing_more_comes(open_threads):
    with open_threads() as engine:
        for _ in range(2):
            made = engine.generate(requests_of(*["what"] * 8), **SAMPLED)
            assert [done.text for [done] in made] == [f"what {100 + place}" for place in range(8)]


def test_one_request_that_kills_engines_costs_itself_alone(open_threads):
    prompts = ["what"] * 9
    prompts[4] = "poison"
    with open_threads() as engine:
        made = engine.generate(requests_of(*prompts), **SAMPLED)
        assert engine.remarks().startswith("engines lost: 3 (last: engine")
    assert [done.error != "" for [done] in made] == [prompt == "poison" for prompt in prompts]
    assert made[4][0].error == "its engine was lost 3 times: CUDA error: an illegal memory access"
    assert {done.text for [done] in made} == {"", *(f"what {100 + place}" for place in range(9) if place != 4)}


def test_an_engine_that_hangs_is_given_up(open_threads):
    with open_threads(limit_seconds=0.3) as engine:
        [*answered, [hung]] = engine.generate(requests_of("what", "what", "slow"), **SAMPLED)
    assert [done.text for [done] in answered] == ["what 100", "what 101"]
    assert hung.error == "its engine was lost 3 times: nothing came within 0.3 s"


def test_engines_that_only_die_end_the_run(open_threads):
    with open_threads() as engine, pytest.raises(EngineError, match="9 engines lost without a completion; engine"):
        engine.generate(requests_of(*["poison"] * 40), **SAMPLED)
    with pytest.raises(EngineError, match="left before its end"):
        engine.generate(requests_of("what"), **SAMPLED)


def test_an_engine_that_cannot_be_replaced_leaves_its_requests_to_the_others(open_threads):
    with open_threads(Threads(good=2)) as engine:
        stream = engine.stream(requests_of(*["what"] * 40), **SAMPLED)
        answered = [next(stream)]
        engine._workers[0].outbox.put(("gone", None))
        answered += stream
        assert len(engine._workers) == 1
    assert sorted(int(request.key) for request, _ in answered) == list(range(40))


def test_no_engine_left_ends_the_run(open_threads):
    launcher = Threads(good=2)
    with open_threads(launcher) as engine, pytest.raises(EngineError, match="no engine is left; engine . of 2: cannot"):
        engine.generate(requests_of(*["poison"] * 9), **SAMPLED)
    assert launcher.is_closed


def test_an_engine_that_does_not_start_says_why_at_once(open_threads):
    launcher = Threads(good=1)
    with pytest.raises(EngineError, match="engine 2 of 2: cannot load weights"):
        open_threads(launcher)
    assert launcher.is_closed
