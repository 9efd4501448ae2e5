"""`python -m flows.watch`: start a run of a deployment on a Prefect server, and follow it to its end.

    python -m flows.watch                             video-r1/full
    python -m flows.watch video-r1/train              another deployment
    python -m flows.watch --run ID                    a run that was started before

As `prefect deployment run --watch` does, but by asking every few seconds: that command listens, and ends with a
traceback when the server is away for longer than its ten attempts to connect again. This one waits for a server that
restarts, and says in one line that it did not come back. The run itself does not hang on it: a worker executes it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID, uuid4

import flows  # noqa: F401  (environment defaults)
from flows.preflight import PreflightError, check_api
from tasks.core.io.cli import USAGE_EXIT, OneLineParser
from tasks.core.io.errors import StageError
from tasks.core.io.given import real_number

DEPLOYMENT = "video-r1/full"
POLL_SECONDS = 2.0
AWAY_SECONDS = 600.0
"""How long a server may be away."""
PAGE = 200
"""Log lines that a server gives at once."""

T = TypeVar("T")


class WatchError(RuntimeError):
    """A run cannot be started or followed; the text is one line with the reason."""


class AwayError(Exception):
    """The server does not answer, or says that it cannot now."""


class Line(NamedTuple):
    """One line of a run's log."""

    id: UUID
    text: str


class State(NamedTuple):
    """State of a run."""

    name: str
    message: str
    final: bool
    completed: bool


class Server(Protocol):
    """What watching needs of a Prefect server. Every method raises AwayError, or WatchError where asking is in vain."""

    def start(self, deployment: str, key: str) -> UUID:
        """Start a run of a deployment; asked again with the same key it starts no second one."""

    def state(self, run: UUID) -> State:
        """State of a run."""

    def lines(self, run: UUID, offset: int) -> list[Line]:
        """A page of a run's log in order of time, from a position on."""


class Patience:
    """Asks a server until it answers, for so long as it may be away."""

    def __init__(
        self,
        away_seconds: float,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.sleep = sleep
        self._away_seconds = away_seconds
        self._tell = tell
        self._clock = clock

    def ask(self, question: Callable[[], T]) -> T:
        """Answer to a question.

        Raises:
            WatchError: the server did not come back in time, or asking is in vain.
        """
        began = self._clock()
        told = False
        while True:
            try:
                answer = question()
            except AwayError as error:
                away = self._clock() - began
                if away > self._away_seconds:
                    raise WatchError(f"the server did not come back within {self._away_seconds:g} s: {error}") from None
                if not told:
                    told = True
                    self._tell(f"the server does not answer ({error}); waiting for up to {self._away_seconds:g} s")
                self.sleep(POLL_SECONDS)
                continue
            if told:
                self._tell(f"the server is back after {self._clock() - began:.0f} s")
            return answer


def follow(server: Server, run: UUID, patience: Patience, show: Callable[[str], None]) -> State:
    """Show the states and the log of a run until it ends; its last state.

    Raises:
        WatchError: the server did not come back in time, or does not know the run.
    """
    seen: set[UUID] = set()
    shown = ""
    while True:
        state = patience.ask(lambda: server.state(run))
        if state.final:
            patience.sleep(POLL_SECONDS)  # last lines are still on their way
        for line in _new_lines(server, run, patience, seen):
            show(line)
        if state.name != shown:
            shown = state.name
            show(f"run {run}: {state.name}{f': {state.message}' if state.message else ''}")
        if state.final:
            return state
        patience.sleep(POLL_SECONDS)


def _new_lines(server: Server, run: UUID, patience: Patience, seen: set[UUID]) -> Iterator[str]:
    """Lines that are not in `seen` yet.

    A page is read again each time: a line of another process may come late, with a time before that of lines shown.
    """
    offset = max(0, len(seen) - PAGE // 2)
    while True:
        page = patience.ask(lambda at=offset: server.lines(run, at))  # type: ignore[misc]
        for line in page:
            if line.id not in seen:
                seen.add(line.id)
                yield line.text
        if len(page) < PAGE:
            return
        offset += len(page)


class PrefectServer:
    """The server of PREFECT_API_URL; its client repeats no request by itself, so that one place counts the time."""

    def __init__(self) -> None:
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        self._settings = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0})
        self._settings.__enter__()
        self._client = get_client(sync_client=True)

    def start(self, deployment: str, key: str) -> UUID:
        """Start a run of a deployment."""
        hint = "`prefect --no-prompt deploy --all` registers the deployments"
        with _asking(f"the server knows no deployment {deployment}; {hint}"):
            known = self._client.read_deployment_by_name(deployment)
            return self._client.create_flow_run_from_deployment(known.id, idempotency_key=key).id

    def state(self, run: UUID) -> State:
        """State of a run."""
        with _asking(f"the server knows no run {run}"):
            state = self._client.read_flow_run(run).state
        if state is None:
            return State("Unknown", "", final=False, completed=False)
        return State(state.name or state.type.value, state.message or "", state.is_final(), state.is_completed())

    def lines(self, run: UUID, offset: int) -> list[Line]:
        """A page of a run's log."""
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        with _asking(f"the server knows no run {run}"):
            logs = self._client.read_logs(wanted, limit=PAGE, offset=offset)
        return [Line(log.id, f"{log.timestamp.astimezone():%H:%M:%S} {log.message}") for log in logs if log.id]


@contextmanager
def _asking(unknown: str) -> Iterator[None]:
    """Turn what Prefect's client raises into AwayError, or into WatchError where asking again is in vain."""
    import httpx
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    try:
        yield
    except ObjectNotFound:
        raise WatchError(unknown) from None
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status == httpx.codes.NOT_FOUND:
            raise WatchError(unknown) from None
        if status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or status >= 500:
            raise AwayError(f"HTTP {status}") from None
        raise WatchError(f"the server refuses with HTTP {status}: {error.response.text[:200]}") from None
    except httpx.TransportError as error:
        raise AwayError(" ".join(str(error).split()) or type(error).__name__) from None


def main(arguments: list[str] | None = None) -> int:
    """Start or follow a run; 0 when it completed."""
    parser = OneLineParser(prog="python -m flows.watch", description="Start a run and follow it to its end.")
    parser.add_argument("deployment", nargs="?", default=DEPLOYMENT, help=f"default {DEPLOYMENT}")
    parser.add_argument("--run", type=UUID, metavar="ID", help="follow this run and start none")
    away = f"for how long the server may be away; default {AWAY_SECONDS:g}"
    parser.add_argument("--away-seconds", type=real_number(least=0), default=AWAY_SECONDS, metavar="N", help=away)
    try:
        options = parser.parse_args(arguments)
        if options.deployment.count("/") != 1:
            parser.error(f"{options.deployment}: a deployment is named FLOW/DEPLOYMENT, as {DEPLOYMENT}")
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_EXIT
    patience = Patience(options.away_seconds, _show)
    run: UUID | None = options.run
    try:
        server = _connect()
        if run is None:
            key = str(uuid4())
            run = patience.ask(lambda: server.start(options.deployment, key))
            _show(f"run {run} of {options.deployment}")
        state = follow(server, run, patience, _show)
    except (PreflightError, WatchError) as error:
        again = f"; the run does not hang on this: `python -m flows.watch --run {run}` follows it again" if run else ""
        print(f"error: {error}{again}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"watch: stopped; the run goes on. To cancel it: `prefect flow-run cancel {run}`", file=sys.stderr)
        return 130
    return 0 if state.completed else 1


def _connect() -> PrefectServer:
    """The server of PREFECT_API_URL, which answers.

    Raises:
        PreflightError: there is none.
    """
    from prefect.settings import PREFECT_API_URL

    if not (url := PREFECT_API_URL.value()):
        raise PreflightError("PREFECT_API_URL is not set; a run without a server is `python -m flows.video_r1`")
    check_api(url)
    return PrefectServer()


def _show(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
