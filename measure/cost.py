"""What a stage takes, run in a process of its own as DVC runs it."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import psutil

EVERY_SECONDS = 0.1


class Cost(NamedTuple):
    """What a stage took, its start included."""

    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of all its processes."""
    peak_mb: float
    """Resident memory of its processes together, ten times a second; at least the most that its first one held."""

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.processor_seconds:.1f} s of processors, {self.peak_mb:.0f} MB peak"


def run(stage: Callable[..., int], *arguments: str) -> Cost:
    """Run a stage in a new process.

    Args:
        stage: a function of a module, which the process imports; its result is not looked at.
        arguments: what it is called with.
    """
    start = time.perf_counter()
    peak = 0
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        done = threading.Event()
        ran = pool.submit(_used, stage, *arguments)
        ran.add_done_callback(lambda _: done.set())
        while not done.wait(EVERY_SECONDS):
            peak = max([peak, *(in_memory(pid, shared_once=True) for pid in list(pool._processes or ()))])
        processor_seconds, most = ran.result()
        seconds = time.perf_counter() - start
    return Cost(seconds, processor_seconds, max(peak / 1e6, most / 1e6))


def in_memory(pid: int, *, shared_once: bool = False) -> int:
    """Bytes resident of a process and those under it; 0 when it is gone.

    Args:
        pid: of the process.
        shared_once: count what they share once (on Linux, and slower), not once for each.
    """
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += each.memory_full_info().pss if shared_once else each.memory_info().rss
    return total


def _used(stage: Callable[..., int], *arguments: str) -> tuple[float, float]:
    """Processor seconds of this process and its children, and the most bytes that this one held."""
    stage(*arguments)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used), _most_held()


def _most_held() -> float:
    """Bytes; 0 where Linux is not. Not `ru_maxrss`: a new process begins with what its parent held."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("VmHWM:"))
