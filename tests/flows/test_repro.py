"""One stage in a child process: what it returns, how it fails, and that nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml

from flows.plan import Policy, plan
from flows.repro import CHILDREN, ReproError, WorkspaceBusyError, repro_stage, sole_driver
from tasks.core.io.progress import Progress
from tests.support.toy_project import ran

ROOT = Path(__file__).parents[2]
SLEEPER = 'python -c \'import subprocess, time; subprocess.Popen(["sleep", "61"]); time.sleep(60)\''


@pytest.fixture(autouse=True)
def open_for_children():
    CHILDREN.reopen()


def set_stage(name: str, **values) -> None:
    path = Path("dvc.yaml")
    graph = yaml.safe_load(path.read_text())
    graph["stages"][name].update(values)
    path.write_text(yaml.safe_dump(graph, sort_keys=False))


def processes_in(folder: Path) -> list[list[str]]:
    """Command lines of living processes that work in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and Path(process.cwd()) == folder
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process.cmdline())
        except psutil.Error:
            continue
    return found


def test_results_tell_ran_unchanged_and_restored_apart(toy):
    lines: list[str] = []
    assert repro_stage("rows", Policy(), False, lines.append).result == "ran"
    assert any("Running stage 'rows'" in line for line in lines)
    assert repro_stage("rows", Policy(), False, lines.append).result == "unchanged"
    Path("data/rows.txt").unlink()
    assert repro_stage("rows", Policy(), False, lines.append).result == "restored"
    assert repro_stage("rows", Policy(), True, lines.append).result == "ran", "force"
    assert ran(toy) == ["rows", "rows"]


def test_a_failing_stage_is_an_error_with_its_name_and_exit_code(toy):
    set_stage("rows", cmd="python -c 'raise SystemExit(3)'")
    with pytest.raises(ReproError, match=r"^rows: failed with exit code \d+: .*rows"):
        repro_stage("rows", Policy(), False, lambda line: None)


TRACEBACK = """python -c 'raise ValueError("7 is odd")'"""
SAID = """python -c 'import sys; sys.exit("error: raw.txt: row 3: no answer")'"""


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        pytest.param(SAID, "raw.txt: row 3: no answer", id="what the stage said"),
        pytest.param(f"({SAID} || (echo bye && exit 2))", "raw.txt: row 3: no answer", id="though it said more"),
        pytest.param(TRACEBACK, "ValueError: 7 is odd", id="end of a traceback"),
        pytest.param("exit 3", "ERROR: failed to reproduce 'rows': failed to run: exit 3, exited with 3", id="silent"),
    ],
)
def test_a_failure_tells_its_cause(toy, command, cause):
    set_stage("rows", cmd=command)
    with pytest.raises(ReproError, match=r"^rows: failed with exit code \d+: ") as raised:
        repro_stage("rows", Policy(), False, lambda line: None)
    assert str(raised.value).partition(": failed with exit code ")[2].partition(": ")[2] == cause


def test_a_missing_input_is_told_in_dvcs_words(toy):
    Path("raw.txt").unlink()
    with pytest.raises(ReproError, match=r"ERROR: failed to reproduce 'rows': .*raw.txt"):
        repro_stage("rows", Policy(), False, lambda line: None)


PROGRESS = """
from tasks.core.io.progress import tracked

list(tracked(range(3), unit="row", mininterval=0))
open("data/rows.txt", "w").close()
"""


def test_a_stage_shows_how_far_it_is(toy, monkeypatch):
    monkeypatch.setattr("flows.repro.LOOK_SECONDS", 0.0)
    Path("data").mkdir()
    Path("progress.py").write_text(PROGRESS)
    set_stage("rows", cmd=f"PYTHONPATH={ROOT} python progress.py")
    seen: list[Progress] = []
    repro_stage("rows", Policy(), False, lambda line: None, seen.append)
    assert (seen[-1].done, seen[-1].total, seen[-1].unit) == (3, 3, "rows")


@pytest.mark.slow
def test_the_time_limit_ends_the_stage_and_its_children(toy):
    set_stage("rows", cmd=SLEEPER)
    with pytest.raises(ReproError, match="rows: stopped at its time limit of 4 s"):
        repro_stage("rows", Policy(timeout_seconds=4), False, lambda line: None)
    assert processes_in(toy) == []


def test_after_a_reap_nothing_starts_so_that_a_retry_cannot_outlive_its_flow(toy):
    CHILDREN.reap()
    with pytest.raises(ReproError, match="rows: not started"):
        repro_stage("rows", Policy(), False, lambda line: None)


def test_a_stage_that_is_stopped_with_its_run_is_recorded_as_cancelled(toy, monkeypatch):
    """Prefect records the state that a task returns."""
    from flows import pipeline

    set_stage("rows", cmd=f"touch started && {SLEEPER}")

    def stop() -> None:
        while not Path("started").exists():
            time.sleep(0.1)
        CHILDREN.reap()

    monkeypatch.setattr(pipeline, "get_run_logger", lambda: SimpleNamespace(info=lambda line: None))
    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    state = pipeline.repro.fn("rows", Policy(), False, False)
    assert (state.type.value, state.message) == ("CANCELLED", "rows: stopped with the run")
    assert processes_in(toy) == []


def test_a_second_driver_in_the_workspace_is_refused(toy):
    with sole_driver(), pytest.raises(WorkspaceBusyError, match="another run of the flow works in"), sole_driver():
        pass


def flow(folder: Path, home: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start `python -m flows.video_r1` in a project, with a Prefect database of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(home), **variables}
    command = [sys.executable, "-m", "flows.video_r1", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell starts its background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, signal.SIGKILL],
    ids=["terminated", "interrupted at the terminal", "killed"],
)
def test_a_signal_to_the_flow_leaves_no_process(toy, tmp_path, number):
    set_stage("rows", cmd=f"touch started && {SLEEPER}")
    child = flow(toy, tmp_path / "prefect", "--targets", "rows")
    deadline = time.monotonic() + 240
    while not Path("started").exists():
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()[0]
        time.sleep(0.2)
    child.send_signal(number)
    child.wait(150)
    assert child.returncode != 0
    for _ in range(600):  # the temporary server takes its time on a busy machine
        if not (left := processes_in(toy)):
            break
        time.sleep(0.2)
    assert left == []


@pytest.mark.slow
@pytest.mark.server
def test_the_command_runs_without_a_server_and_says_so(toy, tmp_path):
    child = flow(toy, tmp_path / "prefect", "--targets", "train")
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output
    assert "No PREFECT_API_URL: this run uses a temporary server" in output
    assert ran(toy) == ["rows", "train", "validate@rows"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(
            ["--targets", "trian"], "video-r1: unknown stage 'trian'; did you mean 'train'?", id="unknown target"
        ),
        pytest.param(["--downstream"], "--downstream needs --targets; see --help", id="downstream of nothing"),
    ],
)
def test_wrong_commands_give_one_line_and_fail(toy, tmp_path, arguments, text):
    child = flow(toy, tmp_path / "prefect", *arguments)
    output, _ = child.communicate(timeout=60)
    assert child.returncode != 0
    assert output.strip().splitlines()[-1].endswith(text)


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        pytest.param(
            {"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "127.0.0.1:9/api: no Prefect server answers", id="api"
        ),
        pytest.param({"PREFECT_API_URL": "nonsense"}, "nonsense: no Prefect server answers", id="no url"),
        pytest.param(
            {"PREFECT_API_URL": "http://127.0.0.1:four/api"}, "four/api: no Prefect server answers", id="no port"
        ),
        pytest.param({"PREFECT_HOME": "~nobody-of-that-name/x"}, "/x: Prefect cannot write its files", id="no user"),
        pytest.param({"PREFECT_HOME": "/proc/nowhere"}, "/proc/nowhere: Prefect cannot write its files", id="home"),
    ],
)
def test_a_prefect_that_cannot_work_is_told_in_one_line(toy, tmp_path, environment, text):
    child = flow(toy, tmp_path / "prefect", "--targets", "rows", **environment)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    [line] = output.strip().splitlines()
    assert line.startswith("video-r1: ") and text in line


def test_a_run_of_nothing_needs_no_server_and_no_process(toy, tmp_path):
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True)
    ran(toy)
    child = flow(toy, tmp_path / "prefect")
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
    assert ran(toy) == [] and output.count("unchanged") == 6
    assert not list((tmp_path / "prefect").glob("*.db")), "no server was started"


def test_the_plan_knows_what_needs_no_process(toy):
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], check=True)
    assert all(node.unchanged for node in plan())
    params = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(params | {"train": 7}))
    assert {node.stage for node in plan() if not node.unchanged} == {"train", "bench@tuned", "report"}
    Path("data/rows.txt").unlink()
    assert "rows" in {node.stage for node in plan() if not node.unchanged}, (
        "a lost output is restored by its own process"
    )
