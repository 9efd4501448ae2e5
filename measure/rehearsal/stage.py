"""One stage of the rehearsal in a process of its own: `python -m measure.rehearsal.stage STAGE [ARGUMENTS]`.

The stage's own code, with two things changed. A random model is never right, so in GRPO a completion counts as right
when its tokens add up to an even number: rewards differ, and an update has gradients. And accelerate keeps FSDP for
accelerators: on a processor its state drops the plugin without a word, so it is put where it is on a GPU, with the
precision that it gathers weights in. Gloo, which sums gradients on a processor, gets them in pieces: it copies whole
what it is given, as NCCL does not.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.core.io.cli import run_stage
from tasks.core.io.errors import StageError

if TYPE_CHECKING:
    import torch

    from tasks.core.schemas.records import Record
    from tasks.grpo.scoring import Comparison, Completion, GroupScore, Rewards


PIECE = 2**24
"""Numbers that each process gets from one sum of gradients."""
GPU_MEMORY = "GPU memory, GiB: "
"""Begins the line that tells the most that PyTorch took of a GPU."""
STAGES = ("ingest", "validate", "annotate", "filter", "sft", "grpo", "benchmark", "report")


def allow_cpu() -> None:
    """Make accelerate's state keep an FSDP plugin on a processor; PyTorch's FSDP2 needs no accelerator."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    original = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        original(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = init
    reduce_in_pieces()


def reduce_in_pieces() -> None:
    """Make FSDP2 reduce a layer's gradients a piece at a time; every sum is of the same numbers."""
    import torch.distributed as dist
    from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultReduceScatter

    def reduce(
        self: Any, output_tensor: torch.Tensor, input_tensor: torch.Tensor, group: Any, op: Any, async_op: bool = False
    ) -> None:
        parts = input_tensor.view(group.size(), -1)  # the part of each process
        for start in range(0, output_tensor.numel(), PIECE):
            piece = slice(start, start + PIECE)
            dist.reduce_scatter_single(output_tensor[piece], parts[:, piece].flatten(), group=group, op=op)

    DefaultReduceScatter.__call__ = reduce


def parity_score(
    record: Record,
    completions: Sequence[Completion],
    perturbed: Sequence[Completion],
    rewards: Rewards,
    comparison: Comparison | None = None,
    seed: int = 0,
) -> GroupScore:
    """In place of `score_group`: an ordered completion is right when its tokens add up to an even number."""
    from tasks.grpo.objectives import Evidence
    from tasks.grpo.scoring import GroupScore

    right = [float(sum(answer.ids) % 2 == 0) for answer in completions]
    wrong, none = [0.0] * len(perturbed), [0.0] * len(completions)
    drops = comparison and comparison.drops
    texts = [[answer.text for answer in side] for side in (completions, perturbed)]
    seen = Evidence(right, texts[0], wrong, texts[1], comparison and comparison.log_probs, drops, seed)
    terms = rewards.objective.terms(seen)
    # The bonus before normalisation is left out: it would say nothing that accuracy does not.
    return GroupScore(right, none, none, terms, wrong, wrong, right, [True] * len(right))


def main() -> int:
    """Run it.

    Raises:
        StageError: no such stage.
    """
    name, *arguments = sys.argv[1:] or [""]
    if name not in STAGES:
        raise StageError(f"no stage {name!r}; stages: {', '.join(STAGES)}")
    sys.argv = [f"tasks.{name}", *arguments]
    if name in ("sft", "grpo"):
        import torch

        if not torch.cuda.is_available():
            allow_cpu()
    if name == "grpo":
        from tasks.grpo import collect

        collect.score_group = parity_score
    code = importlib.import_module(f"tasks.{name}.__main__").main()
    if "torch" in sys.modules:
        finish()
    return code or 0


def finish() -> None:
    """Wait for the process that writes the model; tell what was taken of a GPU."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if torch.cuda.is_available():
        print(f"{GPU_MEMORY}{torch.cuda.max_memory_allocated() / 2**30:.2f}", flush=True)


if __name__ == "__main__":
    from tasks.core.models.load import ModelError
    from tasks.params import ParamsError

    run_stage(main, ParamsError, ModelError)
