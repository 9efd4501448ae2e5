"""`python -m tasks.plan`: what a run of params.yaml will do, need and take; 1 where it cannot work. Starts nothing.

    python -m tasks.plan                                  on this machine, launched as VIDEO_R1_LAUNCH says
    python -m tasks.plan --gpus 4xh100                    on another one; --host-gb, --disk-gb: its memory and disk
    python -m tasks.plan --launch accelerate:profiles/accelerate/fsdp_4gpu.yaml

Memory and hours are arithmetic from the checkpoints' shapes (docs/scaling_7b.md).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tasks import machines, params, paths
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.documents import read_yaml
from tasks.core.io.given import real_number
from tasks.core.sizing.speed import CARDS
from tasks.launch import VARIABLE
from tasks.machines import LaunchError, rendezvous
from tasks.plan.graph import GRAPH, LOCK
from tasks.plan.machine import described, here
from tasks.plan.plan import make_plan
from tasks.plan.show import lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; 1 where files are missing or something cannot work."""
    parser = OneLineParser(prog="python -m tasks.plan", description="What a run will do, need and take.")
    parser.add_argument("--gpus", metavar="NxCARD", help=f"another machine's GPUs, 4xh100; cards: {', '.join(CARDS)}")
    parser.add_argument("--host-gb", type=real_number(above=0), help="its main memory, GB")
    parser.add_argument("--disk-gb", type=real_number(above=0), help="its free disk, GB")
    parser.add_argument("--launch", default=os.environ.get(VARIABLE, ""), help=f"in place of {VARIABLE}")
    options = parser.parse_args(arguments)
    config = params.load()
    sizes = options.host_gb, options.disk_gb
    machine = here(*sizes) if options.gpus is None else described(options.gpus, *sizes)
    told = os.environ.get(machines.VARIABLE, "")
    meeting = None if told == machines.SLURM else rendezvous(told, os.environ)
    plan = make_plan(
        config,
        read_yaml(paths.PARAMS),
        read_yaml(GRAPH),
        read_yaml(LOCK),
        machine=machine,
        launch=options.launch,
        meeting=meeting,
    )
    print("\n".join(lines(plan)))
    return 0 if plan.works else 1


if __name__ == "__main__":
    run_stage(main, params.ParamsError, LaunchError)
