"""One process of GRPO with weights sharded by FSDP2 on a CPU: `accelerate launch sharded_grpo.py MODEL FOLDER CASE..`.

Trains every case for a few steps, writes `<case>.json` from the first process, and holds the gathers of both together:
each is announced to the other process before it is made, so that processes that differ fail at once and do not wait.
"""

import json
import sys
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed.distributed_c10d as c10d
from torch.distributed.fsdp import FSDPModule
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultReduceScatter
from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPParamGroup
from transformers import PreTrainedModel

from measure.rehearsal import stage as stage_module
from measure.rehearsal.stage import allow_cpu
from tasks.core.train import sharding
from tasks.grpo import collect
from tasks.grpo import train as train_module
from tests.support.grpo_process import clip, die_once
from tests.support.grpo_stage import LOGPROB, RECORDS, Stage, parity_score, record, settings

TIMEOUT = timedelta(seconds=60)
BROKEN = record(9, path="broken")
VIDEOS_THEN_IMAGES = [0, 2, 1, 4]
"""The first process gets videos, the second images."""
CASES = {
    "penalty": ({"prompts_per_step": 1, "beta": 0.04}, None),
    "scored": (
        {
            **{"prompts_per_step": 2, "group": 2, "refill": 1, "objective": LOGPROB, "selective_checkpointing": True},
            "length": {"min_tokens": 1, "max_tokens": 9},
        },
        VIDEOS_THEN_IMAGES,
    ),
    "lost clip": ({"prompts_per_step": 1, "objective": LOGPROB}, [0, 5]),
    "frozen encoder": ({"prompts_per_step": 1, "train_vision": False, "beta": 0.04, "objective": LOGPROB}, None),
    "both views in the update": (
        {"prompts_per_step": 1, "objective": {"kind": "papo", "gamma": 0.5}},
        VIDEOS_THEN_IMAGES,
    ),
    "row by row": ({"prompts_per_step": 1, "encode_once": False, "share_prefix_update": False}, VIDEOS_THEN_IMAGES),
    # Sums over other rows round otherwise; the rate is small so that no sampled token hangs on it.
    "micro-batches": (
        {"prompts_per_step": 2, "micro_batch": 4, "beta": 0.04, "learning_rate": 1e-4},
        VIDEOS_THEN_IMAGES,
    ),
    "group over both": ({"prompts_per_step": 1, "group_ranks": 2, "beta": 0.04}, [0, 1, 2]),
    "vllm": ({"prompts_per_step": 1, "rollout_engine": "vllm", "rollout_max_len": 512}, None),
}
"""Settings on each of two processes, and the prompts of a step in order, if they are not drawn."""
HALF = {"prompts_per_step": 2, "steps": 1, "dtype": "bfloat16", "gradient_checkpointing": True}
PENALTY = {**HALF, "prompts_per_step": 1, "steps": 3, "beta": 0.5}
WHOLE_REFERENCE = "bf16, reference kept in float32"
MIXED = {
    "bf16, one micro-batch": (HALF, VIDEOS_THEN_IMAGES),
    "bf16, two": ({**HALF, "micro_batch": 4}, VIDEOS_THEN_IMAGES),
    "bf16, reference": (PENALTY, None),
    WHOLE_REFERENCE: (PENALTY, None),
}
"""Likewise, for mixed precision."""


def run(model, work, case, processes, stop_at=None):
    """Train a case; what it wrote down. One process takes the prompts and micro-batches of both."""
    changes, order = (CASES | MIXED)[case]
    if processes == 1:
        doubled = () if changes.get("group_ranks") else ("prompts_per_step", "micro_batch")
        more = {name: 2 * value if name in doubled else value for name, value in changes.items()}
        changes = more | {"group_ranks": 1}
    original = train_module.schedule
    if order is not None:
        train_module.schedule = lambda prompts, draws, seed: (order * draws)[:draws]
    stage = Stage(model, clip, [*RECORDS, BROKEN], stop_at=stop_at)
    try:
        values = {"steps": 3, "save_steps": 1 if case == "penalty" else 3, **changes}
        result = stage.train(work / case, settings(**values))
    finally:
        train_module.schedule = original
    log = [entry for entry in result.trainer.state.log_history if "loss" in entry]
    state = result.trainer.accelerator.get_state_dict(result.trainer.model)
    return {
        "steps": [[entry[name] for name in ("loss", "grad_norm", "reward", "skipped", "refilled")] for entry in log],
        "weights": [float(value.double().abs().sum()) for value in state.values()],
        "asked": stage.asked,
        "reference": processes > 1 and result.trainer.ref_model and of_reference(result.trainer.ref_model),
    }


def reduced_alike(original):
    """Fail unless gradients summed in pieces are, to the bit, those that gloo sums at once."""
    group, results = torch.distributed.group.WORLD, []
    generator = torch.Generator().manual_seed(torch.distributed.get_rank())
    gradients = torch.randn(2 * 2500, generator=generator)
    for reduce in (original, DefaultReduceScatter.__call__):
        results.append(torch.empty(2500))
        reduce(DefaultReduceScatter(), results[-1], gradients.clone(), group, torch.distributed.ReduceOp.SUM)
    if not torch.equal(*results):
        raise RuntimeError("sums in pieces differ from those at once")


def hold_gathers_together(group):
    """Every gather of weights is announced to the other process first; returns the names of all that were made."""
    made = []
    original = FSDPParamGroup.unshard

    def unshard(self, async_op=False):
        if self._all_gather_result is None and not self.is_unsharded:
            names = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(names, self._module_fqn, group=group)
            if len(set(names)) > 1:
                raise RuntimeError(f"gather {len(made)}: processes differ: {names}")
            made.append(names[0])
        return original(self, async_op)

    FSDPParamGroup.unshard = unshard
    return made


def count_loads():
    """Weights that transformers reads from a checkpoint in this process; their names, one entry a model."""
    loads = []
    original = PreTrainedModel.from_pretrained.__func__

    def from_pretrained(cls, folder, *args, **options):
        loads.append(str(folder))
        return original(cls, folder, *args, **options)

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)
    return loads


@contextmanager
def whole_reference():
    """The reference model keeps float32 weights, and keeps embedding and output layer gathered."""
    copy = sharding.policy_copy

    def in_float32(policy, *, with_weights, dtype):
        return copy(policy, with_weights=with_weights)

    sharding.policy_copy = in_float32
    reshard = FSDPModule.set_reshard_after_forward
    FSDPModule.set_reshard_after_forward = lambda *_: None
    try:
        yield
    finally:
        sharding.policy_copy, FSDPModule.set_reshard_after_forward = copy, reshard


def of_reference(model):
    """Types in which a reference model keeps its weights and in which it gathers them, and what it keeps gathered."""
    groups = {group for module in model.modules() if isinstance(module, FSDPModule) for group in groups_of(module)}
    return {
        "kept": sorted({str(value.dtype) for value in model.parameters()}),
        "gathered": sorted({str(group.mp_policy.param_dtype) for group in groups}),
        "left": sum(group.is_unsharded for group in groups),
    }


def groups_of(module):
    return module._get_fsdp_state()._fsdp_param_groups


def of_both(value):
    """What each process has."""
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def main():
    """All cases that are named; `vllm` with an engine that dies, `penalty` once more from a checkpoint."""
    collect.score_group = parity_score
    at_once = DefaultReduceScatter.__call__
    stage_module.PIECE = 1000  # so that the gradients of a tiny model are several
    allow_cpu()
    torch.set_num_threads(1)
    c10d.default_pg_timeout = TIMEOUT
    torch.distributed.init_process_group("gloo", timeout=TIMEOUT)
    reduced_alike(at_once)
    gathers = hold_gathers_together(torch.distributed.new_group(timeout=TIMEOUT))
    loads = count_loads()
    model, work, cases = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    rank = torch.distributed.get_rank()
    for case in cases:
        if case == "vllm" and rank == 1:
            die_once()
        before, read = len(gathers), len(loads)
        with whole_reference() if case == WHOLE_REFERENCE else nullcontext():
            found = run(model, work, case, 2)
        counts = {"gathers": len(gathers) - before, "loads": of_both(len(loads) - read)}
        if rank == 0:
            (work / f"{case}.json").write_text(json.dumps(found | counts))
    if "penalty" in cases:
        try:
            run(model, work / "parts", "penalty", 2, stop_at=2)
        except KeyboardInterrupt:
            torch.distributed.barrier()
        found = run(model, work / "parts", "penalty", 2)
        if rank == 0:
            (work / "resumed.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
