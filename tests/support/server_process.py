"""One process of a run with rollouts by a server: `accelerate launch tests/support/server_process.py ARGUMENTS`.

ARGUMENTS are a model, a folder, a server and a server that fails. Writes `run.json` from the first process (see `run`);
from each `completions-<rank>.json`, sampled with whole and with sharded weights by requests that one process alone has,
and `error-<rank>.json` of the server that fails.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import torch

from tasks.core.engine.types import EngineError
from tasks.core.train.features import encode_media
from tasks.grpo import collect
from tasks.grpo.engines import Policy, RolloutRequest
from tasks.grpo.settings import rollouts
from tests.support.grpo_process import clip
from tests.support.grpo_stage import LOGPROB, Stage, parity_score, settings


def values_of(url, **changes):
    server = {"url": url, "timeout_seconds": 20}
    return settings(rollout_engine="vllm_server", rollout_server=server, rollout_max_len=512, **changes)


def run(model, work, url, processes):
    """Three steps with a second round, for which not every process has prompts; loss, gradient norm and reward."""
    values = values_of(
        url, steps=3, save_steps=3, prompts_per_step=4 // processes, group=2, refill=1, objective=LOGPROB, beta=0.04
    )
    stage = Stage(model, clip)
    result = stage.train(work, values)
    log = [entry for entry in result.trainer.state.log_history if "loss" in entry]
    return {
        "steps": [[entry[name] for name in ("loss", "grad_norm", "reward", "refilled")] for entry in log],
        "weights": [float(value.double().abs().sum()) for value in stage.model.state_dict().values()],
    }


def completions(model, rank, url, shard):
    """Of a video that the first process alone asks about, of the model as it was loaded and with other weights."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    stage = Stage(model, clip)
    ends = [stage.processor.tokenizer.eos_token_id]
    engine = rollouts(stage.processor, ends, folder=model, settings=values_of(url), rows=8)
    requests = [RolloutRequest("", "video", stage.views(0).ordered, [5, 6])] if rank == 0 else []
    made = []
    for version in range(2):
        torch.manual_seed(version)
        with torch.no_grad():
            for weight in stage.model.parameters():
                full = 0.1 * version * torch.randn(weight.shape)
                weight += full if not shard or version == 0 else shard_of(full, weight)
        if shard and version == 0:
            mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
            for block in [*stage.model.model.visual.blocks, *stage.model.model.language_model.layers]:
                fully_shard(block, mesh=mesh)
            fully_shard(stage.model, mesh=mesh)
        policy = Policy(stage.model, version, sharded=shard, autocast=nullcontext)
        made.append([[done.ids for done in group] for group in engine.complete(policy, encode_media, requests)])
    return made


def shard_of(full, weight):
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full, weight.device_mesh, weight.placements)


def main():
    collect.score_group = parity_score
    torch.set_num_threads(1)
    model, work, url, bad = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    whole = run(model, work / "run", url, 2)
    rank = torch.distributed.get_rank()
    if rank == 0:
        (work / "run.json").write_text(json.dumps(whole))
    made = {"whole": completions(model, rank, url, False), "sharded": completions(model, rank, url, True)}
    (work / f"completions-{rank}.json").write_text(json.dumps(made))
    error = ""
    try:
        run(model, work / "bad", bad, 2)
    except EngineError as failed:
        error = str(failed)
    (work / f"error-{rank}.json").write_text(json.dumps(error))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
