"""What a run needs of Prefect, checked before Prefect is imported: its own message would have hundreds of lines."""

from __future__ import annotations

import base64
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

ANSWER_SECONDS = 10.0


class PreflightError(RuntimeError):
    """Prefect cannot work here; the text is one line with the reason and what to do."""


def check_home(environment: Mapping[str, str] = os.environ) -> Path:
    """Prefect's own folder (PREFECT_HOME, else ~/.prefect), made if need be.

    Raises:
        PreflightError: it cannot be written to.
    """
    home = Path(environment.get("PREFECT_HOME") or "~/.prefect")
    try:
        home = home.expanduser()
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except (OSError, RuntimeError) as error:  # RuntimeError: ~ of a user that is none
        hint = "set PREFECT_HOME to a folder that can be written to"
        reason = getattr(error, "strerror", None) or error
        raise PreflightError(f"{home}: Prefect cannot write its files: {reason}; {hint}") from None


def check_api(url: str, environment: Mapping[str, str] = os.environ) -> None:
    """Ask a Prefect server whether it is up.

    Raises:
        PreflightError: no answer within ten seconds, or not that of a Prefect server.
    """
    headers = {}
    if key := environment.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    elif login := environment.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    hint = "start it (`prefect server start`), set PREFECT_API_URL right, or unset it to run without a server"
    address = f"{url.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=ANSWER_SECONDS) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError, http.client.HTTPException) as error:  # the last: what answers does not speak HTTP
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise PreflightError(f"{url}: no Prefect server answers: {reason}; {hint}") from None
    if status != 200:
        raise PreflightError(f"{url}: the server answers {status} to {address}; {hint}")
