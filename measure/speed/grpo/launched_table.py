"""Steps of several processes as a table, and the lines under it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from measure.speed.grpo.table import TERA
from tasks.core.io.errors import StageError
from tasks.core.sizing.speed import CARDS

SECONDS = ("seconds", "rollouts", "scoring", "update", "optimizer", "other")
Process = Mapping[str, Any]
"""What one process measured (`launched.py`)."""


def step_table(processes: Sequence[Process]) -> list[dict[str, Any]]:
    """One row per step that all processes ended: seconds and memory of the slowest and fullest, tokens of all."""
    rate = dense_tflops(processes[0]["device"])
    table = []
    for number, each in enumerate(zip(*(process["steps"] for process in processes), strict=False), start=1):
        most = {name: max(step[name] for step in each) for name in (*SECONDS, "gpu_gib")}
        tokens = sum(step["tokens"] for step in each)
        tera = sum(step["operations"] for step in each) / TERA / len(each)
        reached = tera / most["update"]
        table.append(
            {
                "step": number,
                **{f"{'step' if name == 'seconds' else name} s": most[name] for name in SECONDS},
                "tokens": int(tokens),
                "tokens/s": tokens / most["rollouts"],
                "TFLOP": tera,
                "TFLOP/s": reached,
                "MFU %": None if rate is None else 100 * reached / rate,
                "peak GPU GiB": None if math.isnan(most["gpu_gib"]) else most["gpu_gib"],
                "loss": each[0].get("loss"),
                "gradient norm": each[0].get("grad_norm"),
            }
        )
    return table


def dense_tflops(device: str) -> float | None:
    """A card's dense bfloat16 rate by its data sheet, found by the name that its driver gives; None: unknown."""
    names = {key.partition("-")[0]: card.tflops for key, card in CARDS.items()}
    return next((rate for key, rate in names.items() if key in device.lower().replace(" ", "")), None)


def check(processes: Sequence[Process], steps: int) -> None:
    """Refuse numbers that are not those of a training run.

    Raises:
        StageError: a loss or a gradient norm is not finite, or no step has a gradient.
    """
    for number, step in enumerate(processes[0]["steps"], start=1):
        for name in ("loss", "grad_norm"):
            if not math.isfinite(step[name]):
                raise StageError(f"step {number}: {name} is {step[name]}")
    if len(processes[0]["steps"]) != steps or not any(step["grad_norm"] > 0 for step in processes[0]["steps"]):
        raise StageError(f"no gradient in {len(processes[0]['steps'])} of {steps} steps")


def no_room(processes: Sequence[Process]) -> str | None:
    """What did not fit, one line: where, and the allocator's first sentence; None: all fitted."""
    for rank, process in enumerate(processes):
        if "no_room" in process:
            where = f"step {len(process['steps']) + 1}" if "loading_seconds" in process else "loading"
            return f"did not fit, {where}, process {rank} ({process['device']}): {process['no_room']}"
    return None


def memory_line(processes: Sequence[Process]) -> str:
    """Host memory, and what loading took."""
    host = [process["host_gib"] for process in processes]
    line = f"Host memory (largest resident size): {max(host):.1f} GiB of a process, {sum(host):.1f} GiB of all."
    loads = [process for process in processes if "loading_seconds" in process]
    if loads:
        line += f" Making model and trainer: {max(process['loading_seconds'] for process in loads):.1f} s."
        if not math.isnan(loads[0]["loading_gpu_gib"]):
            line += f" GPU memory then: {max(process['loading_gpu_gib'] for process in loads):.1f} GiB at most."
    return line


def last_line(table: Sequence[Mapping[str, Any]]) -> str:
    """`launched step: ...`: means of the steps after the first, which warms up; of a single step its own."""
    warm = table[1:] or table

    def mean(column: str) -> float:
        return sum(row[column] for row in warm) / len(warm)

    parts = ", ".join(f"{name} {mean(f'{name} s'):.3g} s" for name in ("rollouts", "scoring", "update"))
    line = f"launched step: {mean('step s'):.3g} s ({parts}), {mean('tokens/s'):.0f} tokens/s"
    return line if warm[0]["MFU %"] is None else f"{line}, MFU of the update {mean('MFU %'):.0f} %"
