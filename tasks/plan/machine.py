"""The machine that a plan is made for: this one, or one that is described."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import psutil

from tasks.core.io.errors import StageError
from tasks.core.sizing.memory import GIB
from tasks.core.sizing.speed import CARDS, Card
from tasks.launch import Configuration, configuration, number_of, read
from tasks.machines import Rendezvous

CPU_TFLOPS_PER_CORE = 0.05
"""float32 on a processor, matrices large enough. Assumed; small models are slower by their overheads."""
CPU_BYTES_PER_SECOND = 2e10


class Machine(NamedTuple):
    """What there is."""

    gpus: int
    card: Card
    """Of all GPUs alike; without a GPU the processor, whose memory is the machine's."""
    host_bytes: float | None
    """Main memory; None: not told, nothing is held against it."""
    free_bytes: float | None
    """Free disk below the project; None: not told."""
    is_here: bool

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.gpus} x {self.card.name}, {self.card.gib:g} GiB each" if self.gpus else self.card.name


class Launched(NamedTuple):
    """How a training stage is started."""

    processes: int
    is_sharded: bool
    text: str
    """As VIDEO_R1_LAUNCH spells it."""
    machines: int = 1
    configuration: Configuration | None = None
    """accelerate's."""

    @property
    def on_each(self) -> int:
        """Processes of a machine."""
        return max(self.processes // self.machines, 1)


def described(gpus: str, host_gb: float | None, disk_gb: float | None) -> Machine:
    """A machine by `--gpus 4xh100`; sizes that are not told are held against nothing.

    Raises:
        StageError: not of that form, or an unknown card.
    """
    match = re.fullmatch(r"(\d{1,4})\s*[xX]\s*([\w-]+)", gpus.strip(), re.ASCII)
    card = CARDS.get(match[2].lower()) if match else None
    if match is None or card is None or int(match[1]) < 1:
        raise StageError(f"--gpus {gpus}: a number and a card are wanted, 4xh100; cards: {', '.join(CARDS)}")
    host, free = (None if size is None else size * 1e9 for size in (host_gb, disk_gb))
    return Machine(int(match[1]), card, host, free, is_here=False)


def here(host_gb: float | None, disk_gb: float | None) -> Machine:
    """This machine."""
    host = host_gb * 1e9 if host_gb is not None else psutil.virtual_memory().total
    free = disk_gb * 1e9 if disk_gb is not None else shutil.disk_usage(".").free
    cards = visible_cards()
    if cards:
        smallest = min(cards, key=lambda card: card.gib)
        return Machine(len(cards), smallest, host, free, is_here=True)
    cores = os.cpu_count() or 1
    card = Card(f"{cores} processor cores", host / GIB, cores * CPU_TFLOPS_PER_CORE, CPU_BYTES_PER_SECOND)
    return Machine(0, card, host, free, is_here=True)


def visible_cards() -> list[Card]:
    """GPUs that nvidia-smi tells of, less those that CUDA_VISIBLE_DEVICES hides."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    cards = [card_of(line) for line in listing.stdout.splitlines() if "," in line] if listing.returncode == 0 else []
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        cards if shown is None else cards[: len([each for each in shown.split(",") if each.strip() not in ("", "-1")])]
    )


def card_of(line: str) -> Card:
    """A card by nvidia-smi's name and MiB; of an unknown one the memory alone."""
    name, _, mib = line.rpartition(",")
    plain = name.replace(" ", "").lower()
    known = next((card for key, card in CARDS.items() if key.partition("-")[0] in plain), None)
    gib = float(mib) / 1024
    return Card(name.strip(), gib, known and known.tflops, known and known.bytes_per_second)


def launched(launch: str, machine: Machine, meeting: Rendezvous | None = None) -> Launched:
    """Processes that VIDEO_R1_LAUNCH starts.

    Args:
        launch: VIDEO_R1_LAUNCH.
        machine: each machine.
        meeting: by VIDEO_R1_MACHINE; None: one machine, or as many as Slurm is asked for.

    Raises:
        LaunchError: it cannot be right, or its configuration cannot be read.
    """
    given = read(launch)
    machines = number_of(given.slurm, "nodes", "N") if given.slurm is not None else (meeting.machines if meeting else 1)
    if given.launcher == "torchrun":
        each = int(given.option) if given.option else machine.gpus or (os.cpu_count() or 1 if machine.is_here else 1)
        return Launched(machines * each, False, launch, machines)
    if given.launcher == "accelerate":
        found = configuration(Path(given.option))
        if machines == 1:
            machines = found.machines
        each = found.processes // found.machines
        return Launched(machines * each, found.kind == "FSDP", launch, machines, found)
    return Launched(1, False, launch or "python")
