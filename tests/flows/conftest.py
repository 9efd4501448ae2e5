"""A toy DVC project (tests/fixtures/toy) and, for tests that need one, a Prefect server on a temporary database."""

import os
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

    with prefect_test_harness(server_startup_timeout=120):
        yield
