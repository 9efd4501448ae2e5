"""A toy DVC project (tests/fixtures/toy) and, for tests that need one, a Prefect server on a temporary database."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import flows  # noqa: F401  (environment defaults, before Prefect is imported)
from tests.support.toy_project import make_toy


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy project, as the working directory."""
    folder = make_toy(tmp_path / "toy")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One temporary Prefect API server for all flow tests of a session."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    os.register_at_fork(after_in_child=_forget_services)
    with prefect_test_harness(server_startup_timeout=120):
        yield


def _forget_services() -> None:
    """A process that a later test forks from this one makes no last call to Prefect's services, which live here.

    They would raise (prefect._internal.concurrency.services, `_drain`), and the process would end with 1.
    """
    calls: list[object] = threading._threading_atexits  # type: ignore[attr-defined]
    calls[:] = [call for call in calls if not _module(call).startswith("prefect.")]


def _module(call: object) -> str:
    return type(getattr(getattr(call, "func", call), "__self__", None)).__module__
