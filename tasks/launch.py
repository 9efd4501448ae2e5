"""`python -m tasks.launch <stage> [arguments]`: run a stage under the launcher that this machine wants.

Where a stage runs changes no result, so it is no parameter and no dependency of the pipeline: it comes from the
environment.

    VIDEO_R1_LAUNCH=python                                        this interpreter (default)
    VIDEO_R1_LAUNCH=accelerate:profiles/accelerate/fsdp_8gpu.yaml   accelerate launch with that configuration
    VIDEO_R1_LAUNCH=torchrun:4                                    torchrun with four processes on this machine
    VIDEO_R1_LAUNCH="srun:--gres=gpu:1 --time=8:00:00"            a Slurm step with these options
    VIDEO_R1_LAUNCH="srun:--nodes=2 -- torchrun:8"                a Slurm step: eight processes on each of two nodes

`accelerate` and `torchrun` start several processes, which only the training stages share work among; every other
stage runs in this interpreter under them. On several machines without Slurm each runs the stage's command, with
VIDEO_R1_MACHINE (`machines.py`).
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tasks import machines
from tasks.core.io.errors import StageError
from tasks.core.io.lifeline import hold
from tasks.machines import LaunchError, Rendezvous, rendezvous

VARIABLE = "VIDEO_R1_LAUNCH"
LAUNCHERS = ("python", "accelerate", "torchrun", "srun")
TRAINING = ("sft", "grpo")
ON_EACH = " -- "
"""Between the options of srun and the launcher of every node."""


def stages(root: Path) -> list[str]:
    """Names of the runnable stages: packages below `root` with a `__main__`."""
    return sorted(file.parent.name for file in root.glob("*/__main__.py"))


class Launch(NamedTuple):
    """A launcher with its argument; of Slurm's steps also that of every node."""

    launcher: str
    option: str
    slurm: tuple[str, ...] | None = None
    """Options of srun; None: no step of Slurm."""

    @property
    def text(self) -> str:
        """As VIDEO_R1_LAUNCH spells it on one machine."""
        return f"{self.launcher}:{self.option}" if self.option else self.launcher


class Configuration(NamedTuple):
    """What an accelerate configuration says of processes."""

    processes: int
    """On all machines."""
    machines: int
    kind: str
    """`distributed_type`."""
    fsdp_version: int | None


def read(launch: str) -> Launch:
    """VIDEO_R1_LAUNCH taken apart; "" is python.

    Raises:
        LaunchError: an unknown launcher, or an argument that cannot be right.
    """
    launcher, _, option = launch.strip().partition(":")
    if launcher == "srun":
        options, on_each, inner = f" {option} ".partition(ON_EACH)
        try:
            words = tuple(shlex.split(options))
        except ValueError as error:
            raise LaunchError(f"{VARIABLE}: options of srun: {error}: {options.strip()}") from None
        if not on_each:
            if (tasks := number_of(words, "ntasks", "n") * number_of(words, "ntasks-per-node")) > 1:
                raise LaunchError(
                    f"{VARIABLE}: srun: {tasks} tasks would each do the whole stage; start processes of a stage by "
                    f"`srun:OPTIONS -- torchrun:PROCESSES` or `srun:OPTIONS -- accelerate:FILE`"
                )
            return Launch("python", "", words)
        given = read(inner)
        if given.slurm is not None or given.launcher == "python":
            raise LaunchError(f"{VARIABLE}: after `--` torchrun:PROCESSES or accelerate:FILE is wanted, got {inner!r}")
        return given._replace(slurm=words)
    if launcher not in ("", *LAUNCHERS):
        raise LaunchError(f"{VARIABLE}: unknown launcher {launcher!r}; launchers: {', '.join(LAUNCHERS)}")
    if launcher in ("", "python") and option:
        raise LaunchError(f"{VARIABLE}: python takes no argument; torchrun:{option} starts several processes")
    if launcher == "torchrun" and option and not (option.isascii() and option.isdigit() and 0 < int(option) < 10_000):
        raise LaunchError(f"{VARIABLE}: torchrun takes a number of processes, at least 1, not {option!r}")
    if launcher == "accelerate" and not option:
        raise LaunchError(
            f"{VARIABLE}: accelerate wants a configuration, accelerate:profiles/accelerate/fsdp_4gpu.yaml"
        )
    if launcher == "accelerate" and not Path(option).is_file():
        raise LaunchError(f"{VARIABLE}: no such accelerate configuration: {option}")
    return Launch(launcher or "python", option)


def number_of(options: Sequence[str], name: str, letter: str = "") -> int:
    """Value of an option of srun, `--nodes=2` or `-N 2`; 1 where it is not among them."""
    short = rf"|-{letter}\s?" if letter else ""
    found = re.search(rf"(?:^|\s)(?:--{name}[=\s]{short})(\d+)(?=\s|$)", " ".join(options), re.ASCII)
    return max(int(found[1]), 1) if found else 1


def configuration(path: Path) -> Configuration:
    """What a file says.

    Raises:
        LaunchError: it cannot be read, or has no number of processes.
    """
    try:
        values: Any = yaml.safe_load(path.read_bytes())
        processes, count = values["num_processes"], values.get("num_machines") or 1
        fsdp = values.get("fsdp_config") or {}
        version = fsdp.get("fsdp_version", 1) if values.get("distributed_type") == "FSDP" else None
        found = Configuration(processes, count, str(values.get("distributed_type") or "NO"), version)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise LaunchError(f"{path}: not an accelerate configuration: {error!r}") from error
    if not all(type(number) is int and number > 0 for number in found[:2]) or processes % count:
        raise LaunchError(
            f"{path}: num_processes: {processes!r}, num_machines: {count!r}; whole numbers are wanted, as many "
            "processes on each machine"
        )
    return found


def command(
    stage: str, arguments: Sequence[str], launch: str, known: Sequence[str], meeting: Rendezvous | None = None
) -> list[str]:
    """Command line of one stage.

    Args:
        stage: package under `tasks`.
        arguments: passed on.
        launch: `<launcher>` or `<launcher>:<its argument>`; "" is python.
        known: valid stages.
        meeting: of this machine with others; None: it trains alone.

    Raises:
        LaunchError: see there.
    """
    if stage not in known:
        raise LaunchError(f"unknown stage {stage!r}; stages: {', '.join(known)}")
    module = ["-m", f"tasks.{stage}", *arguments]
    given = read(launch)
    if given.slurm is not None and given.launcher == "python":
        return ["srun", "--ntasks=1", *given.slurm, sys.executable, *module]
    if given.launcher == "python" or stage not in TRAINING:
        return [sys.executable, *module]
    if given.slurm is not None:
        there = ["env", f"{VARIABLE}={given.text}", f"{machines.VARIABLE}={machines.SLURM}"]
        one_each = ["--ntasks-per-node=1", "--kill-on-bad-exit=1"]
        return ["srun", *given.slurm, *one_each, *there, sys.executable, "-m", "tasks.launch", stage, *arguments]
    if given.launcher == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", *_of_torchrun(given.option, meeting), *module]
    config = ["--config_file", given.option, *_of_accelerate(Path(given.option), meeting)]
    return [sys.executable, "-m", "accelerate.commands.launch", *config, *module]


def _of_torchrun(processes: str, meeting: Rendezvous | None) -> list[str]:
    each = f"--nproc-per-node={processes or 'auto'}"
    if meeting is None:
        return ["--standalone", each]
    return [
        f"--nnodes={meeting.machines}",
        f"--node-rank={meeting.rank}",
        each,
        f"--master-addr={meeting.host}",
        f"--master-port={meeting.port}",
        f"--rdzv-id={meeting.name}",
    ]


def _of_accelerate(path: Path, meeting: Rendezvous | None) -> list[str]:
    """Its configuration is of one machine, or of as many as meet."""
    if meeting is None:
        return []
    found = configuration(path)
    if found.machines not in (1, meeting.machines):
        raise LaunchError(f"{path}: num_machines: {found.machines}, {meeting.machines} machines meet")
    return [
        f"--num_machines={meeting.machines}",
        f"--num_processes={found.processes // found.machines * meeting.machines}",
        f"--machine_rank={meeting.rank}",
        f"--main_process_ip={meeting.host}",
        f"--main_process_port={meeting.port}",
    ]


def main() -> int:
    """Replace this process by the stage's."""
    known = stages(Path(__file__).parent)
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        usage = f"usage: python -m tasks.launch <stage> [arguments]; stages: {', '.join(known)}"
        print(usage, file=sys.stdout if sys.argv[1:] else sys.stderr)
        return 0 if sys.argv[1:] else 2
    try:
        meeting = rendezvous(os.environ.get(machines.VARIABLE, ""), os.environ)
        line = command(sys.argv[1], sys.argv[2:], os.environ.get(VARIABLE, ""), known, meeting)
        hold()
    except (LaunchError, StageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        os.execvp(line[0], line)
    except FileNotFoundError:
        print(f"error: {VARIABLE}: {line[0]} is not installed", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
