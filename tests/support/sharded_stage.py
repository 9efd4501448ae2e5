"""One process of training stages with sharded weights on a CPU: `accelerate launch ... sharded_stage.py DIES STAGE..`.

Runs stages in the working directory; the last one leaves after the checkpoint of step DIES, unless that is 0.
"""

import importlib
import sys

import torch

from measure.rehearsal.stage import allow_cpu
from tasks.core.train.checkpoints import Sealing


def leave_after(step):
    """End all processes together when the checkpoint of `step` is complete."""
    original = Sealing.on_save

    def save(self, args, state, control, **kwargs):
        original(self, args, state, control, **kwargs)
        if state.global_step == step:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
            sys.exit(0)

    Sealing.on_save = save


def main():
    """See the module."""
    allow_cpu()
    torch.set_num_threads(1)
    dies, stages = int(sys.argv[1]), sys.argv[2:]
    for stage in stages:
        if stage == stages[-1] and dies:
            leave_after(dies)
        importlib.import_module(f"tasks.{stage}.__main__").main()
        torch.distributed.barrier()  # The first process writes the model.
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
