"""`python -m tasks.launch <stage> [arguments]`: run a stage under the launcher that this machine wants.

Where a stage runs changes no result, so it is no parameter and no dependency of the pipeline: it comes from the
environment.

    VIDEO_R1_LAUNCH=python                                        this interpreter (default)
    VIDEO_R1_LAUNCH=accelerate:profiles/accelerate/fsdp_8gpu.yaml   accelerate launch with that configuration
    VIDEO_R1_LAUNCH=torchrun:4                                    torchrun with four processes on this machine
    VIDEO_R1_LAUNCH="srun:--gres=gpu:1 --time=8:00:00"            a Slurm step with these options

`accelerate` and `torchrun` start several processes, which only the training stages share work among; every other
stage runs in this interpreter under them.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.core.io.errors import StageError
from tasks.core.io.lifeline import hold

VARIABLE = "VIDEO_R1_LAUNCH"
LAUNCHERS = ("python", "accelerate", "torchrun", "srun")
TRAINING = ("sft", "grpo")


class LaunchError(ValueError):
    """Unknown stage or launcher, or a launcher's argument that cannot be right; the text says what is valid."""


def stages(root: Path) -> list[str]:
    """Names of the runnable stages: packages below `root` with a `__main__`."""
    return sorted(file.parent.name for file in root.glob("*/__main__.py"))


def command(stage: str, arguments: Sequence[str], launch: str, known: Sequence[str]) -> list[str]:
    """Command line of one stage.

    Args:
        stage: package under `tasks`.
        arguments: passed on.
        launch: `<launcher>` or `<launcher>:<its argument>`; "" is python.
        known: valid stages.

    Raises:
        LaunchError: see there.
    """
    if stage not in known:
        raise LaunchError(f"unknown stage {stage!r}; stages: {', '.join(known)}")
    launcher, _, option = launch.partition(":")
    module = ["-m", f"tasks.{stage}", *arguments]
    if launcher in ("", "python"):
        return [sys.executable, *module]
    if launcher == "srun":
        return ["srun", *shlex.split(option), sys.executable, *module]
    if launcher not in LAUNCHERS:
        raise LaunchError(f"{VARIABLE}: unknown launcher {launcher!r}; launchers: {', '.join(LAUNCHERS)}")
    if stage not in TRAINING:
        return [sys.executable, *module]
    if launcher == "torchrun":
        if option and not option.isdigit():
            raise LaunchError(f"{VARIABLE}: torchrun takes a number of processes, not {option!r}")
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={option or 'auto'}",
            *module,
        ]
    if option and not Path(option).is_file():
        raise LaunchError(f"{VARIABLE}: no such accelerate configuration: {option}")
    config = ["--config_file", option] if option else []
    return [sys.executable, "-m", "accelerate.commands.launch", *config, *module]


def main() -> int:
    """Replace this process by the stage's."""
    known = stages(Path(__file__).parent)
    if sys.argv[1:] in ([], ["-h"], ["--help"]):
        usage = f"usage: python -m tasks.launch <stage> [arguments]; stages: {', '.join(known)}"
        print(usage, file=sys.stdout if sys.argv[1:] else sys.stderr)
        return 0 if sys.argv[1:] else 2
    try:
        line = command(sys.argv[1], sys.argv[2:], os.environ.get(VARIABLE, ""), known)
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
