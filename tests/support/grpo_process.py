"""One process of a distributed run: `accelerate launch tests/support/grpo_process.py MODEL FOLDER`.

Trains every layout of LAYOUTS for three steps and writes `<layout>.json` (loss and gradient norm of each step, sums of
the trained weights) from the first process, likewise `dying.json` of a run in which the second process's engine fails;
then `answers-<rank>.json` (sampled with whole and with sharded weights).
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.core.train.features import encode_media
from tasks.core.train.sharding import gather_for_encoding
from tasks.core.video.clip import Clip
from tasks.grpo import collect
from tasks.grpo.data import black_picture
from tasks.grpo.engines import Policy, RolloutRequest, TransformersRollouts
from tests.support.grpo_stage import LOGPROB, Stage, parity_score, settings

LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "whole": ({"prompts_per_step": 1}, {"prompts_per_step": 2}),
    "whole, token normaliser": (
        {"prompts_per_step": 1, "loss_type": "dapo", "beta": 0.04, "objective": LOGPROB},
        {"prompts_per_step": 2, "loss_type": "dapo", "beta": 0.04, "objective": LOGPROB},
    ),
    "whole, vllm": (
        {"prompts_per_step": 1, "rollout_engine": "vllm", "rollout_max_len": 512},
        {"prompts_per_step": 2, "rollout_engine": "vllm", "rollout_max_len": 512},
    ),
    "whole, both views in the update": (
        {"prompts_per_step": 1, "objective": {"kind": "papo", "gamma": 0.5}},
        {"prompts_per_step": 2, "objective": {"kind": "papo", "gamma": 0.5}},
    ),
    "straddling": ({"prompts_per_step": 1, "group_ranks": 2}, {"prompts_per_step": 1}),
}
"""Layout -> settings on each of two processes, and settings on one that make the same global batch."""


def clip(frames=8, fps=2.0, seed=0, side=56):
    """As the fixture `make_clip`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)
    return Clip(pixels, list(range(frames)), fps, fps, frames / fps if fps else 0.0)


def run(model, work, layout, processes):
    """Train one layout; what it wrote down."""
    values = settings(steps=3, save_steps=3, **LAYOUTS[layout][0 if processes == 2 else 1])
    stage = Stage(model, clip)
    result = stage.train(work / layout, values)
    log = [entry for entry in result.trainer.state.log_history if "loss" in entry]
    return {
        "losses": [[entry["loss"], entry["grad_norm"], entry["reward"]] for entry in log],
        "weights": [float(value.double().abs().sum()) for value in stage.model.state_dict().values()],
    }


def die_once():
    """Let this process's vLLM engine fail at the second step from now on."""
    from tasks.grpo.vllm_rollouts import VllmRollouts

    original, calls = VllmRollouts._generate, []

    def generate(self, asks):
        calls.append(asks)
        if len(calls) == 2:
            raise RuntimeError("worker lost")
        return original(self, asks)

    VllmRollouts._generate = generate


def sharded_answers(model, rank, shard):
    """Sampled answers of this process's own prompts (a video on one, an image on the other), weights sharded or whole.

    Answers end at many tokens, so that processes want different numbers of forwards.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    stage = Stage(model, clip)
    if shard:
        mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
        inner = stage.model.model
        for block in [*inner.visual.blocks, *inner.language_model.layers]:
            fully_shard(block, mesh=mesh)
        fully_shard(stage.model, mesh=mesh)
    view = stage.views(rank).ordered
    policy = Policy(stage.model, 0, sharded=shard, autocast=nullcontext)

    @torch.no_grad()
    def encode(model, prompts):
        if not shard:
            return encode_media(model, prompts)
        gather_for_encoding(model)
        return encode_media(model, prompts, idle=black_picture(stage.processor))

    ends = list(range(0, 360, 3)) if rank else [stage.processor.tokenizer.eos_token_id]
    engine = TransformersRollouts(settings().sampling, stage.processor, ends, True)
    requests = [RolloutRequest("", "video", view, list(range(10 * rank, 10 * rank + 4)))]
    with torch.no_grad():
        return [done.ids for step in range(2) for done in engine.complete(policy, encode, requests)[0]]


def main():
    """All layouts on two processes, then sharded weights against whole ones."""
    collect.score_group = parity_score
    torch.set_num_threads(1)
    model, work = sys.argv[1], Path(sys.argv[2])
    for layout in LAYOUTS:
        found = run(model, work, layout, 2)
        if torch.distributed.get_rank() == 0:
            (work / f"{layout}.json").write_text(json.dumps(found))
    rank = torch.distributed.get_rank()
    if rank == 1:
        die_once()
    found = run(model, work / "again", "whole, vllm", 2)
    if rank == 0:
        (work / "dying.json").write_text(json.dumps(found))
    found = {"whole": sharded_answers(model, rank, False), "sharded": sharded_answers(model, rank, True)}
    (work / f"answers-{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
