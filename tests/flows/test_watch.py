"""Following a run: what is shown, how long a server may be away, what cannot be waited for."""

from collections.abc import Iterable, Iterator
from uuid import UUID, uuid4

import httpx
import pytest

from flows.watch import PAGE, AwayError, Line, Patience, State, WatchError, _asking, follow, main

RUN = uuid4()
RUNNING = State("Running", "", final=False, completed=False)
COMPLETED = State("Completed", "", final=True, completed=True)
FAILED = State("Failed", "sft: failed with exit code 2: no space left", final=True, completed=False)


def line(text: str) -> Line:
    return Line(uuid4(), text)


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeServer:
    """One that gives these states in turn (None: it is away), and after each state so much of the log."""

    def __init__(self, states: Iterable[State | None], logs: Iterable[list[Line]]) -> None:
        self._states: Iterator[State | None] = iter(states)
        self._logs = iter(logs)
        self._log: list[Line] = []

    def start(self, deployment: str, key: str) -> UUID:
        return RUN

    def state(self, run: UUID) -> State:
        if (state := next(self._states)) is None:
            raise AwayError("Connection refused")
        self._log = next(self._logs)
        return state

    def lines(self, run: UUID, offset: int) -> list[Line]:
        return self._log[offset : offset + PAGE]


def watched(states: list[State | None], logs: list[list[Line]], away_seconds: float = 60.0) -> tuple[State, list[str]]:
    shown: list[str] = []
    clock = Clock()
    patience = Patience(away_seconds, shown.append, clock, clock.sleep)
    return follow(FakeServer(states, logs), RUN, patience, shown.append), shown


def test_states_and_lines_are_shown_once_and_in_order():
    first, second, third = map(line, "abc")
    state, shown = watched([RUNNING, RUNNING, COMPLETED], [[first], [first, second], [first, second, third]])
    assert state.completed
    assert shown == ["a", f"run {RUN}: Running", "b", "c", f"run {RUN}: Completed"]


def test_a_failed_run_ends_with_its_message():
    state, shown = watched([FAILED], [[]])
    assert not state.completed
    assert shown == [f"run {RUN}: Failed: sft: failed with exit code 2: no space left"]


def test_a_line_that_comes_late_with_an_early_time_is_shown():
    early, late, last = map(line, ("early", "late", "last"))
    _, shown = watched([RUNNING, COMPLETED], [[early, last], [early, late, last]])
    assert [text for text in shown if "run" not in text] == ["early", "last", "late"]


def test_a_log_of_many_pages_is_shown_whole():
    log = [line(str(number)) for number in range(3 * PAGE + 7)]
    _, shown = watched([RUNNING, COMPLETED], [log[: 2 * PAGE], log])
    assert [text for text in shown if "run" not in text] == [str(number) for number in range(3 * PAGE + 7)]


def test_a_server_that_restarts_is_waited_for():
    state, shown = watched([RUNNING, *[None] * 20, COMPLETED], [[], []])
    assert state.completed
    assert shown[1:-1] == [
        "the server does not answer (Connection refused); waiting for up to 60 s",
        "the server is back after 40 s",
    ]


def test_a_server_that_does_not_come_back_ends_the_watch():
    with pytest.raises(WatchError, match="the server did not come back within 60 s: Connection refused"):
        watched([RUNNING, *[None] * 40], [[]])


def test_each_absence_has_its_own_time():
    state, _ = watched([RUNNING, *[None] * 25, RUNNING, *[None] * 25, COMPLETED], [[], [], []])
    assert state.completed


def refusal(status: int) -> Exception:
    from prefect.exceptions import PrefectHTTPStatusError

    response = httpx.Response(status, text="no", request=httpx.Request("GET", "http://server/api"))
    return PrefectHTTPStatusError("no", request=response.request, response=response)


@pytest.mark.parametrize(
    ("raised", "becomes", "text"),
    [
        pytest.param(httpx.ConnectError("refused"), AwayError, "refused", id="down"),
        pytest.param(httpx.ReadTimeout(""), AwayError, "ReadTimeout", id="hangs, without a word"),
        pytest.param(refusal(502), AwayError, "HTTP 502", id="a proxy whose server is down"),
        pytest.param(refusal(503), AwayError, "HTTP 503", id="starting"),
        pytest.param(refusal(429), AwayError, "HTTP 429", id="asked too often"),
        pytest.param(refusal(404), WatchError, "knows no run", id="another server: waiting would be for ever"),
        pytest.param(refusal(401), WatchError, "refuses with HTTP 401: no", id="wrong password"),
    ],
)
def test_only_an_absence_is_waited_for(raised, becomes, text):
    with pytest.raises(becomes, match=text), _asking("the server knows no run"):
        raise raised


@pytest.mark.parametrize(
    ("address", "told"),
    [
        pytest.param("", "PREFECT_API_URL is not set", id="none"),
        pytest.param("http://127.0.0.1:9/api", "no Prefect server answers: .*refused", id="down from the start"),
    ],
)
def test_without_a_server_nothing_is_started_and_one_line_says_so(address, told, monkeypatch, capsys):
    import re

    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address} if address else {}, restore_defaults={PREFECT_API_URL}):
        assert main([]) == 1
    [text] = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{told}", text)
