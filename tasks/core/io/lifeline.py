"""Nothing runs on alone: what a command started ends with it, and a stage ends with what started it.

    dvc repro | flow | torchrun  --->  stage  --->  engine, worker processes, servers
                                         |
                                      watcher, a small process beside it

`hold` starts the watcher. When the process it watches over is gone (done, crashed, killed by -9), the watcher ends
every process that was started below it: they carry a variable in their environment, for by then no parent could tell
them. When the program that started the process is gone, the process is asked to end (SIGTERM), and killed after a
grace time.

The watcher runs this file as a script: standard library and psutil alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import psutil

MARK = "VIDEO_R1_BELOW_"
"""Prefix of a variable that all processes below a held one carry."""
LEADERS = ("DVC_STAGE", "TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION", "PREFECT__FLOW_RUN_ID")
"""Variables of programs that start stages or flows and wait for them."""
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}
GRACE = "VIDEO_R1_GRACE_SECONDS"
"""Environment variable: seconds between the request to end and the kill."""
GRACE_SECONDS = 30.0
POLL_SECONDS = 0.5
LINGER_SECONDS = 5.0
"""What a process that ended by itself left behind may take so long to end by itself."""
PR_SET_PDEATHSIG = 1
KEEP_ENVIRONMENT = "SPT_NOENV"
"""Set: a process that gives itself a title (those of vLLM and Ray do) does not write it over its environment, where
the mark is looked for."""


def hold(led: bool | None = None) -> None:
    """Watch over this process and all that it starts from now on; a second call changes nothing.

    Args:
        led: whether it ends with the process that started it; None: where that is DVC, a launcher or a worker, not a
            shell, for what was started by hand may outlive its terminal.

    Raises:
        StageError: VIDEO_R1_GRACE_SECONDS is no number of seconds.
    """
    grace_seconds()
    name = f"{MARK}{os.getpid()}_{int(psutil.Process().create_time())}"
    if name in os.environ:
        return
    leaders = leaders_of(psutil.Process()) if led or (led is None and is_led(os.environ)) else []
    if leaders:
        _ask_kernel()
    paths = os.pathsep.join(path for path in sys.path if path)
    unmarked = {key: value for key, value in os.environ.items() if not key.startswith(MARK)}
    subprocess.Popen(
        [sys.executable, "-S", __file__, name, str(os.getpid()), *map(str, leaders)],
        cwd="/",
        env={**unmarked, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt at the terminal must not end it first
    )
    os.environ[name] = "1"
    os.environ[KEEP_ENVIRONMENT] = "1"


def is_led(environment: Mapping[str, str]) -> bool:
    """Whether DVC, a launcher or a worker started this process."""
    return any(name in environment for name in LEADERS)


def leaders_of(process: psutil.Process) -> list[int]:
    """The parent; where it is a shell, the shell's parent too."""
    parent = process.parent()
    if parent is None:
        return []
    above = parent.parent() if parent.name() in SHELLS else None
    return [parent.pid, *([above.pid] if above is not None and above.pid > 1 else [])]


def grace_seconds() -> float:
    """VIDEO_R1_GRACE_SECONDS, 30 unless set.

    Raises:
        StageError: not a number of seconds.
    """
    text = os.environ.get(GRACE, "")
    try:
        seconds = float(text) if text.strip() else GRACE_SECONDS
    except ValueError:
        seconds = math.nan
    if 0 <= seconds < math.inf:
        return seconds
    from tasks.core.io.errors import StageError  # never reached in the watcher: `hold` has read the variable before

    raise StageError(f"{GRACE}: a number of at least 0 is wanted, got {text!r}")


def marked(name: str) -> list[psutil.Process]:
    """Living processes that carry a variable in their environment."""
    carriers = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if name in process.environ() and not is_gone(process):
                carriers.append(process)
    return carriers


def is_gone(process: psutil.Process | None) -> bool:
    """Whether a process has ended, also where its parent has not yet taken note; None had ended before it was found."""
    try:
        return process is None or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def end(processes: Sequence[psutil.Process], grace: float) -> None:
    """Ask processes to end, and kill what is left after the grace time."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and not all(map(is_gone, processes)):
        time.sleep(0.1)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def watch(name: str, held: int, leaders: Sequence[int]) -> None:
    """The watcher: returns when neither the held process nor anything below it is left."""
    process, above = _process(held), [_process(pid) for pid in leaders]
    while not is_gone(process) and not any(map(is_gone, above)):
        time.sleep(POLL_SECONDS)
    if process is not None and not is_gone(process):
        end([process], grace_seconds())
    deadline = time.monotonic() + LINGER_SECONDS
    while (left := marked(name)) and time.monotonic() < deadline and not any(map(is_gone, above)):
        time.sleep(POLL_SECONDS)
    while left:  # what is being killed may start more
        end(left, grace_seconds())
        left = marked(name)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _ask_kernel() -> None:
    """Let Linux send SIGTERM the moment the parent is gone; elsewhere the watcher does, within a second."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    watch(sys.argv[1], int(sys.argv[2]), [int(pid) for pid in sys.argv[3:]])
