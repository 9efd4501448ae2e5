"""A Prefect server that goes away while a run goes on: it is noticed, waited for at the end, and told what it missed.

Stages need no server. But Prefect drops the states of tasks that end while its server is away, and a table or a final
state that cannot be sent ends the run. So the flow looks every few seconds whether the server answers; if it once did
not, the flow waits for it before it sends its last words, and sends the task states again (`flows.pipeline`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from flows.preflight import PreflightError, check_api

LOOK_SECONDS = 5.0
AWAY_SECONDS = 600.0
"""How long a run waits at its end for a server that is away."""


class Outage:
    """Whether a server was away between entering and leaving."""

    def __init__(
        self, url: str | None, ask: Callable[[str], None] = check_api, look_seconds: float = LOOK_SECONDS
    ) -> None:
        """`url`: of the API; None: there is no server that could go away. `ask` raises PreflightError."""
        self._url = url
        self._ask = ask
        self._look_seconds = look_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="prefect-server-look", daemon=True)
        self.noticed = False

    def __enter__(self) -> Outage:
        """Begin to look."""
        if self._url:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no more."""
        self._over.set()

    def outlast(
        self,
        tell: Callable[[str], None],
        away_seconds: float = AWAY_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> bool:
        """Wait for a server that was away; whether it answers now. Without an outage nothing is asked."""
        if not self._url or not self.noticed:
            return True
        tell(f"the Prefect server was away during the run; waiting for up to {away_seconds:g} s")
        waited = 0.0
        while not self._answers():
            if waited >= away_seconds:
                return False
            sleep(self._look_seconds)
            waited += self._look_seconds
        return True

    def _look(self) -> None:
        while not self._over.wait(self._look_seconds):
            if not self._answers():
                self.noticed = True

    def _answers(self) -> bool:
        assert self._url is not None
        try:
            self._ask(self._url)
        except PreflightError:
            return False
        return True
