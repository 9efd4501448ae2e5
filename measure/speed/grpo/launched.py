"""One process of `python -m measure.speed.grpo --launched`: a few steps of the pipeline's own GRPO trainer, timed.

Weights are random and frames are noise held in memory, so neither a checkpoint nor a decoder is needed; a completion
never ends before its length and counts as right when its tokens add up to an even number, so that updates have
gradients. What was measured goes to `process-<rank>.json` of the job's folder, also when memory did not suffice.

    accelerate launch --config_file profiles/accelerate/fsdp_4gpu.yaml -m measure.speed.grpo.launched JOB
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import trl.trainer.grpo_trainer as trl_trainer
from transformers import TrainerCallback

from measure.rehearsal.stage import allow_cpu, parity_score
from measure.speed.clock import MEBIBYTE, Clock, status_mib
from measure.speed.grpo.job import LaunchedJob
from measure.speed.grpo.launched_settings import settings_of
from measure.speed.grpo.shapes import FAMILY, build, build_without_weights
from measure.speed.grpo.table import SIDE_PIXELS, TEMPORAL
from measure.speed.grpo.work import CORPUS, noise, record
from tasks.core.io.cli import run_stage
from tasks.core.io.errors import StageError
from tasks.core.sizing.flops import floor, packed
from tasks.core.sizing.shapes import SHAPES
from tasks.core.train.clips import ClipStore
from tasks.core.train.sharding import loads_once
from tasks.core.world.model import build_processor
from tasks.grpo import collect
from tasks.grpo.data import render
from tasks.grpo.forwards import Forwards, Rows
from tasks.grpo.settings import draws
from tasks.grpo.train import run, trainer_of
from tasks.grpo.trainer import VideoGRPOTrainer
from tasks.params import Params

GIBIBYTE = 1024
"""In MiB."""
NO_ROOM = 3
"""Exit code where memory did not suffice."""


class Steps(TrainerCallback):
    """Times every step and its parts, and counts tokens sampled, operations needed and memory."""

    def __init__(self, job: LaunchedJob, device: str) -> None:
        self.steps: list[dict[str, float]] = []
        self._job, self._device, self._clock = job, device, Clock(device)
        self._tokens = self._operations = self._begun = self._updated = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Before the rollouts."""
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self._clock, self._tokens, self._operations = Clock(self._device), 0.0, 0.0
        self._begun = self._now()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """After the last backward."""
        self._updated = self._now()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """After the optimizer."""
        self._clock.wall["optimizer"] += self._now() - self._updated

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Add the step."""
        wall, seconds = self._clock.wall, self._now() - self._begun
        self.steps.append(
            {
                "seconds": seconds,
                "rollouts": wall["rollouts"],
                "scoring": wall["scoring"],
                "other": wall["collected"] - wall["rollouts"] - wall["scoring"],
                "update": seconds - wall["collected"] - wall["optimizer"],
                "optimizer": wall["optimizer"],
                "tokens": self._tokens,
                "operations": self._operations,
                "gpu_gib": peak_gib(self._device),
            }
        )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While open, the trainer's methods are timed by part."""
        timed = {"_complete": "rollouts", "_scored": "scoring", "_reference": "scoring"}
        timed["_generate_and_score_completions"] = "collected"
        with ExitStack() as stack:
            for name, part in timed.items():
                stack.enter_context(
                    replaced(VideoGRPOTrainer, name, self._timed(getattr(VideoGRPOTrainer, name), part))
                )
            stack.enter_context(replaced(Forwards, "log_probs", self._counted(Forwards.log_probs)))
            yield

    def _timed(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self._clock.part(part):
                result = method(*arguments, **options)
            if part == "rollouts":
                self._tokens += sum(len(completion.ids) for group in result for completion in group)
            return result

        return timed

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(forwards: Any, model: Any, rows: Rows, **options: Any) -> Any:
            if torch.is_grad_enabled():
                self._operations += needed(self._job, rows)
            return method(forwards, model, rows, **options)

        return counted

    def _now(self) -> float:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def needed(job: LaunchedJob, rows: Rows) -> float:
    """Operations that an update over these rows cannot do without, its prompts read once each."""
    frame = (job.side // SIDE_PIXELS) ** 2
    prompts = dict(zip(rows.keys, rows.prompts, strict=True))
    vision, answer = frame * (job.frames // TEMPORAL), rows.completion_ids.shape[1]
    return sum(
        floor(SHAPES[job.shape], packed(len(prompts[key].ids), answer, count, vision, frame))
        for key, count in Counter(rows.keys).items()
    )


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """While open, an attribute has another value."""
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def peak_gib(device: str) -> float:
    """The most memory of the GPU since the last reset, GiB; NaN on a processor."""
    return torch.cuda.max_memory_allocated() / MEBIBYTE / GIBIBYTE if device == "cuda" else float("nan")


def policy(job: LaunchedJob, params: Params, processor: Any, device: str, environment: Mapping[str, str]) -> Any:
    """The random policy as a stage has it before training.

    Of several processes the first alone has weights, in main memory, where the launcher shards them (`load_policy`).
    A single process keeps them where they were made, unless `host` asks for main memory.
    """
    shape, dtype = SHAPES[job.shape], params.grpo.weights_dtype
    if loads_once() and environment.get("RANK", "0") != "0":
        return build_without_weights(shape, processor, dtype)
    model = build(shape, processor, dtype, device).eval()
    return model.cpu() if job.host or environment.get("WORLD_SIZE", "1") != "1" else model


def measure(job: LaunchedJob, device: str, numbers: dict[str, Any]) -> None:
    """Train, and fill in what this process measured; what was measured stays when memory does not suffice."""
    params, _ = settings_of(job)
    settings = params.grpo
    processor = build_processor(FAMILY, CORPUS * 4)
    begun = time.perf_counter()
    model = policy(job, params, processor, device, os.environ)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    count = draws(settings, processes)
    records = [dataclasses.replace(record(), problem_id=i, path=f"noise {i}") for i in range(count)]
    prompts = render(records, processor, **params.prompt.model_dump())
    clips = ClipStore(lambda path, _: noise(job, zlib.crc32(path.encode())), settings.frame_cache_gb)
    steps = Steps(job, device)
    numbers["steps"] = steps.steps
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stack.enter_context(steps.watching())
        stack.enter_context(replaced(collect, "score_group", parity_score))
        # The reference model of whole weights: TRL would load it from the policy's folder.
        stack.enter_context(replaced(trl_trainer, "create_model_from_path", lambda *_, **__: deepcopy(model)))
        work = Path(name)
        trainer = trainer_of(
            model,
            processor,
            prompts,
            clips=clips,
            settings=settings,
            seed=params.seed,
            work=work,
            on_skip=refuse,
            callbacks=[steps],
        )
        trainer.args.save_strategy = "no"
        engine: Any = trainer._rollouts
        generation = engine._config
        generation.suppress_tokens = [*generation.suppress_tokens, *generation.eos_token_id]
        numbers |= {"loading_seconds": time.perf_counter() - begun, "loading_gpu_gib": peak_gib(device)}
        numbers["sharded"] = trainer._sharded
        run(trainer, work)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    for step, entry in zip(steps.steps, history, strict=True):
        step |= {name: float(entry[name]) for name in ("loss", "grad_norm")}


def refuse(row: Any, reason: str) -> None:
    """No prompt is left out: frames in memory always open."""
    raise RuntimeError(f"{row.path}: {reason}")


def main() -> int:
    """Measure; the numbers go to a file whatever happens."""
    if len(sys.argv) != 2:
        raise StageError("started by `python -m measure.speed.grpo --launched`, and by nobody else")
    job = LaunchedJob(**json.loads(sys.argv[1]))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rank, local = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    if device == "cuda":
        torch.cuda.set_device(local)
    else:
        allow_cpu()
    card = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    numbers: dict[str, Any] = {"device": card, "threads": torch.get_num_threads(), "steps": []}
    code = 0
    try:
        measure(job, device, numbers)
    except torch.OutOfMemoryError as error:
        held = torch.cuda.memory_allocated() / MEBIBYTE / GIBIBYTE
        numbers["no_room"] = f"{str(error).split('. GPU')[0]} (held: {held:.1f} GiB)"
        code = NO_ROOM
    numbers |= {"host_gib": status_mib("VmHWM") / GIBIBYTE, "gpu_gib": peak_gib(device)}
    (Path(job.folder) / f"process-{rank}.json").write_text(json.dumps(numbers))
    if not code and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return code


if __name__ == "__main__":
    from tasks.params import ParamsError

    run_stage(main, ParamsError, StageError)
