"""Time and memory of parts of a step."""

from __future__ import annotations

import ctypes
import gc
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
MEBIBYTE = 2**20
KIBIBYTES = 2**10


class Clock:
    """Seconds by part, wall and processor; on a GPU the two are the same, after it has finished."""

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        self.wall: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add what happens inside to a part."""
        start = self._now()
        yield
        for total, before, after in zip((self.wall, self.processor), start, self._now(), strict=True):
            total[name] += after - before

    def watch(self, module: Any, name: str) -> None:
        """Add every forward of a module to a part; the caller takes it off the part around it."""
        started: list[tuple[float, float]] = []

        def enter(*_: Any) -> None:
            started.append(self._now())

        def leave(*_: Any) -> None:
            for total, before, after in zip((self.wall, self.processor), started.pop(), self._now(), strict=True):
                total[name] += after - before

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def _now(self) -> tuple[float, float]:
        if self._cuda:
            torch.cuda.synchronize()
            return (time.perf_counter(),) * 2
        return time.perf_counter(), time.process_time()


class Peak:
    """Highest memory since it was made, above what was held then, MiB; on Linux."""

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self._held: float = torch.cuda.memory_allocated() / MEBIBYTE
        else:
            gc.collect()
            # What the allocator keeps from the warm pass is given back, lest the next pass hide in it.
            ctypes.CDLL(None).malloc_trim(0)
            CLEAR.write_text("5")  # sets the peak back to what is held now
            self._held = status_mib("VmRSS")

    def above(self) -> float:
        """MiB above the start."""
        peak = torch.cuda.max_memory_allocated() / MEBIBYTE if self._cuda else status_mib("VmHWM")
        return peak - self._held


def status_mib(name: str) -> float:
    """A memory figure of this process, MiB: VmRSS what it holds, VmHWM the most it held; NaN where Linux is not."""
    if not STATUS.is_file():
        return float("nan")
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / KIBIBYTES
    return float("nan")
