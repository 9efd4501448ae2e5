"""One training stage on several machines: which of them this is, and where they meet.

VIDEO_R1_MACHINE=0/2@10.0.0.1:29500     the first of two machines; 10.0.0.1 is its address
VIDEO_R1_MACHINE=1/2@10.0.0.1:29500     the second
VIDEO_R1_MACHINE=slurm                  as Slurm numbers the nodes of this step (set by `tasks.launch` itself)

The folder of the project is one and the same on all of them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

VARIABLE = "VIDEO_R1_MACHINE"
SLURM = "slurm"
FORM = re.compile(r"(\d{1,6})/(\d{1,6})@(\[[\da-fA-F:.]+\]|[\w.-]+):(\d{1,5})", re.ASCII)
PORTS = range(20_000, 30_000)
"""Where steps of Slurm meet: a port by the number of job and step, so that jobs on one node take different ones."""


class LaunchError(ValueError):
    """Unknown stage or launcher, or a launcher's argument that cannot be right; the text says what is valid."""


class Rendezvous(NamedTuple):
    """A machine's number among those that train together, and the address of the first."""

    rank: int
    machines: int
    host: str
    port: int
    name: str
    """Of the meeting; alike on all machines."""


def rendezvous(text: str, environment: Mapping[str, str]) -> Rendezvous | None:
    """Where this machine meets the others; None: it trains alone.

    Args:
        text: VIDEO_R1_MACHINE.
        environment: where Slurm's variables are looked for.

    Raises:
        LaunchError: not of that form; or Slurm's variables are missing, or tell of several tasks on a node.
    """
    if not text:
        return None
    if text == SLURM:
        return _of_slurm(environment)
    match = FORM.fullmatch(text)
    if match is None:
        raise LaunchError(f"{VARIABLE}: RANK/MACHINES@HOST:PORT is wanted, 1/2@10.0.0.1:29500, got {text!r}")
    rank, machines, port = int(match[1]), int(match[2]), int(match[4])
    if rank >= machines or not 0 < port < 2**16:
        raise LaunchError(f"{VARIABLE}: {text}: ranks are 0 to MACHINES - 1, ports 1 to 65535")
    return Rendezvous(rank, machines, match[3].strip("[]"), port, "video-r1") if machines > 1 else None


def _of_slurm(environment: Mapping[str, str]) -> Rendezvous | None:
    try:
        rank, machines, tasks, job, step = (
            int(environment[f"SLURM_{name}"])
            for name in ("NODEID", "STEP_NUM_NODES", "STEP_NUM_TASKS", "JOB_ID", "STEP_ID")
        )
        nodes = environment["SLURM_STEP_NODELIST"]
    except (KeyError, ValueError) as error:
        raise LaunchError(f"{VARIABLE}={SLURM}: not in a step of Slurm: {error}") from None
    if tasks != machines:
        raise LaunchError(
            f"srun: {tasks} tasks on {machines} nodes; one task a node is wanted, its launcher starts the processes"
        )
    if machines == 1:
        return None
    port = PORTS[(job * 100 + step) % len(PORTS)]
    return Rendezvous(rank, machines, _first_host(nodes), port, f"{job}.{step}")


def _first_host(nodes: str) -> str:
    """First name of a list that Slurm writes in short, `gpu[01-04]`."""
    if re.fullmatch(r"[\w.-]+", nodes):
        return nodes
    try:
        done = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"scontrol show hostnames {nodes}: {error}") from error
    names = done.stdout.split()
    if done.returncode or not names:
        raise LaunchError(f"scontrol show hostnames {nodes}: {done.stderr.strip() or 'no names'}")
    return names[0]
