"""One stage in its own child process: `dvc repro --single-item`, with its output, a time limit and a sure end.

DVC runs in a process per stage because its path locks are keyed by process. `--single-item` is safe only because the
flow walks the graph in topological order: by hand it would skip the look upstream. `--wait-for-lock` because siblings
take turns at the workspace lock for short moments. Nothing here knows Prefect: tests and flow call the same function.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from flows.plan import Policy
from tasks.core.io.given import from_environment, whole_number
from tasks.core.io.lifeline import grace_seconds
from tasks.core.io.progress import Progress, forget_progress, read_progress

Result = Literal["ran", "restored", "unchanged"]
CHILD = Path(__file__).with_name("child.py")
# What DVC says about a stage; the last match of a run counts.
_SAYINGS: dict[str, Result] = {
    "Running stage '": "ran",
    "is cached - skipping run": "restored",
    "didn't change, skipping": "unchanged",
    "Verifying outputs in frozen stage": "unchanged",
}


_ERROR = "error: "
"""Begins the line in which a stage says what is wrong (`tasks.core.io.cli`)."""
_DVC_ERROR = "ERROR: "
_DVC_WORDS = ("Running stage '", "> ")
_RAN_IT = "failed to run: "
"""In DVC's error when the stage's command ran and failed."""
LOOK_SECONDS = 5.0
"""Between two looks at a stage's progress."""


class ReproError(RuntimeError):
    """A stage failed, ran out of time or was stopped; the text names it and says which."""


class StoppedError(ReproError):
    """The run is being stopped, and this stage with it."""


class WorkspaceBusyError(RuntimeError):
    """Another flow run works in this folder."""


class StageResult(NamedTuple):
    """Result of one stage."""

    stage: str
    result: Result
    seconds: float


class Children:
    """The running DVC processes, so that a flow that ends can end them too.

    No other process is ended: Prefect's temporary server, for example, is a child of the same process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[str]] = set()
        self._stopping = False

    def reopen(self) -> None:
        """Accept new processes again; called when a flow run begins."""
        with self._lock:
            self._stopping = False

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        """Start and register a process; ReproError after `reap`, so that a retry does not outlive its flow."""
        with self._lock:
            if self._stopping:
                raise StoppedError(f"{command[-1]}: not started, the run is stopping")
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            self._live.add(child)
            return child

    @property
    def stopping(self) -> bool:
        """Whether `reap` was called."""
        return self._stopping

    def forget(self, child: subprocess.Popen[str]) -> None:
        """Drop an ended process."""
        with self._lock:
            self._live.discard(child)

    def reap(self) -> None:
        """End every registered process with its descendants, and start no more."""
        with self._lock:
            self._stopping = True
            live = list(self._live)
        for child in live:
            end_tree(child.pid)


CHILDREN = Children()
_slots: dict[str, threading.BoundedSemaphore] = defaultdict(lambda: threading.BoundedSemaphore(slot_size()))


def slot_size() -> int:
    """How many stages of one slot may run at once: VIDEO_R1_SLOT_SIZE, 1 unless set. Where it runs is no parameter.

    Raises:
        StageError: not a whole number of at least 1.
    """
    return int(from_environment("VIDEO_R1_SLOT_SIZE", whole_number(), 1))


def end_tree(pid: int) -> None:
    """Ask a process and all its descendants to end; kill what is left after VIDEO_R1_GRACE_SECONDS."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=grace_seconds())
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def repro_stage(
    stage: str,
    policy: Policy,
    force: bool,
    log: Callable[[str], None],
    show: Callable[[Progress], None] = lambda progress: None,
) -> StageResult:
    """Run one stage whose upstream is up to date.

    Args:
        stage: DVC's name of it.
        policy: its time limit and slot; retries are the caller's.
        force: run it even if nothing changed.
        log: receives each line that DVC and the stage print.
        show: receives the stage's progress, every few seconds while it prints.

    Raises:
        StoppedError: the run is being stopped.
        ReproError: non-zero exit, or out of time.
    """
    force_flag = ["--force"] if force else []
    command = [sys.executable, str(CHILD), "--wait-for-lock", "repro", "--single-item", *force_flag, stage]
    with _slots[policy.slot] if policy.slot else contextlib.nullcontext():
        started = time.monotonic()
        forget_progress(stage)
        child = CHILDREN.start(command, child_environment())
        out_of_time = threading.Event()

        def end_in_time() -> None:
            out_of_time.set()
            end_tree(child.pid)

        timer = threading.Timer(policy.timeout_seconds or 0, end_in_time)
        timer.daemon = True
        if policy.timeout_seconds is not None:
            timer.start()
        try:
            result, cause = follow(child, log, lambda: read_progress(stage), show)
            code = child.wait()
        finally:
            timer.cancel()
            CHILDREN.forget(child)
    seconds = time.monotonic() - started
    if out_of_time.is_set():
        raise ReproError(f"{stage}: stopped at its time limit of {policy.timeout_seconds:g} s")
    if code != 0 and CHILDREN.stopping:
        raise StoppedError(f"{stage}: stopped with the run")
    if code != 0:
        raise ReproError(f"{stage}: failed with exit code {code}: {cause}")
    return StageResult(stage, result, seconds)


def follow(
    child: subprocess.Popen[str],
    log: Callable[[str], None],
    read: Callable[[], Progress | None],
    show: Callable[[Progress], None],
) -> tuple[Result, str]:
    """Pass on a child's lines and progress until it closes its output.

    Returns:
        What DVC said became of the stage, and why it failed if it did: the stage's own last error line, else the last
        line before DVC's, which only repeats the command, else DVC's.
    """
    result: Result = "unchanged"
    error = last = dvc = ""
    shown: Progress | None = None
    looked = time.monotonic()
    assert child.stdout is not None
    for line in child.stdout:
        text = line.rstrip()
        if not text:
            continue
        log(text)
        if text.startswith(_ERROR):
            error = text.removeprefix(_ERROR)
        elif text.startswith(_DVC_ERROR):
            dvc = text
        elif not text.startswith(_DVC_WORDS):
            last = text
        for saying, meaning in _SAYINGS.items():
            if saying in text:
                result = meaning
        if time.monotonic() - looked >= LOOK_SECONDS:
            looked = time.monotonic()
            if (progress := read()) is not None and progress != shown:
                shown = progress
                show(progress)
    return result, error or (_RAN_IT in dvc and last) or dvc or last


def child_environment() -> dict[str, str]:
    """This environment with the interpreter's folder first, so that `python` in a stage's cmd is this Python."""
    folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": folder + os.pathsep + os.environ.get("PATH", os.defpath), "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def sole_driver(lock: Path = Path(".dvc/tmp/flow.lock")) -> Iterator[None]:
    """Hold this workspace for one flow run: DVC's path locks fail at once when two walk the same graph.

    Raises:
        WorkspaceBusyError: another run holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceBusyError(
                f"another run of the flow works in {Path.cwd()}; wait for it or cancel it"
            ) from None
        yield
