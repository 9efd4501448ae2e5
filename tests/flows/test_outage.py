"""A server that goes away during a run: noticed, waited for, and told what it missed."""

import threading
from contextlib import contextmanager
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.states import Cancelled, Completed, Pending, Running

from flows import states
from flows.outage import Outage
from flows.preflight import PreflightError

URL = "http://127.0.0.1:4200/api"


class Health:
    """A server's health: `up` until it is set otherwise; comes up again after so many questions."""

    def __init__(self, up: bool = True, back_after: int | None = None) -> None:
        self.up, self.back_after, self.asked = up, back_after, 0
        self.was_asked = threading.Event()

    def __call__(self, url: str) -> None:
        self.asked += 1
        if self.back_after is not None and self.asked > self.back_after:
            self.up = True
        self.was_asked.set()
        if not self.up:
            raise PreflightError(f"{url}: no Prefect server answers")


def outage_of(health: Health) -> Outage:
    with Outage(URL, health, look_seconds=0.01) as outage:
        assert health.was_asked.wait(60)
        while not health.up and not outage.noticed:
            pass
    return outage


def test_a_server_that_stays_is_not_waited_for_nor_asked_again():
    health = Health()
    outage = outage_of(health)
    told: list[str] = []
    assert not outage.noticed and outage.outlast(told.append) and told == []


def test_without_a_server_nothing_is_asked():
    health = Health(up=False)
    with Outage(None, health, look_seconds=0.01) as outage:
        assert outage.outlast(print)
    assert health.asked == 0


def test_a_server_that_comes_back_is_waited_for():
    health = Health(up=False)
    outage = outage_of(health)
    health.back_after = health.asked + 3
    slept: list[float] = []
    told: list[str] = []
    assert outage.noticed and outage.outlast(told.append, 60, slept.append)
    assert told == ["the Prefect server was away during the run; waiting for up to 60 s"] and slept


def test_a_server_that_stays_away_is_given_up():
    slept: list[float] = []
    assert not outage_of(Health(up=False)).outlast(print, 0.05, slept.append)
    assert sum(slept) == pytest.approx(0.05)


class Client:
    """What a server knows of a run's tasks, and what is sent to it."""

    def __init__(self, known: dict) -> None:
        self._known = [SimpleNamespace(id=run, state=state) for run, state in known.items()]
        self.made: dict = {}
        self.set: dict = {}

    def read_task_runs(self, *, flow_run_filter, limit, offset):
        return self._known[offset : offset + min(limit, 2)]

    def create_task_run(self, task, flow_run_id, dynamic_key, id, name, state):  # noqa: A002  (Prefect's name)
        self.made[id] = (name, state.type.value, state.name)

    def set_task_run_state(self, task_run_id, state, force):
        assert force
        self.set[task_run_id] = (state.type.value, state.name, state.message)


def test_only_what_the_server_missed_is_sent(monkeypatch):
    ended = {
        "rows": Completed(name="Ran", message="ran in 3.0 s", data={"any": "result"}),
        "gate": Completed(name="Ran"),
        "train": Cancelled(message="stopped with the run"),
        "bench": Completed(name="Restored"),
        "report": Pending(name="NotReady"),
    }
    futures = {name: SimpleNamespace(task_run_id=uuid4(), state=state) for name, state in ended.items()}
    ids = {name: future.task_run_id for name, future in futures.items()}
    server = Client({ids["rows"]: Running(), ids["gate"]: Completed(), ids["train"]: None, ids["report"]: Pending()})

    @contextmanager
    def get_client(sync_client):
        yield server

    monkeypatch.setattr(states, "get_client", get_client)
    assert states.send_missed(SimpleNamespace(), uuid4(), futures) == ["rows", "train", "bench"]
    assert server.set == {
        ids["rows"]: ("COMPLETED", "Ran", "ran in 3.0 s"),
        ids["train"]: ("CANCELLED", "Cancelled", "stopped with the run"),
    }
    assert server.made == {ids["bench"]: ("bench", "COMPLETED", "Restored")}
