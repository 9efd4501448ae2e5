"""One measurement, in a process of its own: a policy update, and where asked for the rest of a step.

The clip is noise, the weights are random, the answers are drawn; time depends on neither. `plain` and `shared` run the
project's trainer with its levers off and on, `trl` an unmodified GRPOTrainer that is given the frames as images.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from measure.speed.clock import Clock, Peak
from measure.speed.grpo.job import CACHED, LEVERS, Job, LaunchedJob
from measure.speed.grpo.shapes import build
from tasks.core.backbones import of_model, of_processor
from tasks.core.models.inputs import prompt_text
from tasks.core.prompts import messages
from tasks.core.schemas.records import Record
from tasks.core.sizing.shapes import SHAPES
from tasks.core.train.clips import ClipStore
from tasks.core.train.features import train_encoder
from tasks.core.train.rows import EncodedPrompt
from tasks.core.video import Clip, open_clip
from tasks.core.world.model import build_processor
from tasks.core.world.render import write_clip
from tasks.grpo.data import Prompt, View, open_views, render
from tasks.grpo.engines import RolloutRequest
from tasks.grpo.log import RolloutLog
from tasks.grpo.settings import arguments, options_of, rollouts
from tasks.grpo.trainer import VideoGRPOTrainer
from tasks.params import Grpo

QUESTION = "Which way does the red ball move?"
CORPUS = [QUESTION, "You are a helpful assistant.", "<think>It starts left and ends right</think><answer>B</answer>"]
FPS = 2.0
FIRST_ID = 20
"""Answer tokens are drawn above the special ones."""


def record() -> Record:
    """The question that is asked."""
    return Record(
        problem_id=0,
        problem=QUESTION,
        data_type="video",
        problem_type="multiple choice",
        options=["A. left", "B. right"],
        process="",
        solution="<answer>B</answer>",
        path="noise.mp4",
    )


def noise(job: Job | LaunchedJob, seed: int = 0) -> Clip:
    """A clip of noise, one frame every half second."""
    size = (job.frames, job.side, job.side, 3)
    frames = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    return Clip(frames, list(range(job.frames)), FPS, FPS, job.frames / FPS)


def measure(job: Job) -> dict[str, Any]:
    """Seconds by part (wall and processor), peak memory in MiB and sizes of a job."""
    processor = build_processor(job.family, CORPUS * 4)
    model = build(SHAPES[job.shape], processor, job.dtype, job.device, job.family)
    clock = Clock(job.device)
    with tempfile.TemporaryDirectory() as folder:
        made = _trl(job, model, processor, folder) if job.path == "trl" else _ours(job, model, processor, Path(folder))
        trainer, batch, prompt = made
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        _pass(trainer, batch, job, Clock(job.device), min(job.micro, job.timed_rows))
        trainer.model.zero_grad(set_to_none=False)  # gradients are held, as in every micro-batch but the first
        clock.watch(getattr(trainer.model.model, of_model(model).names.encoder[0]), "encode")
        peak = Peak(job.device)
        best = _fastest(trainer, batch, job, clock)
        numbers: dict[str, Any] = {"peak_mb": peak.above(), "prompt": prompt, **best}
        if job.whole and job.path == "ours":
            numbers["wall"] |= _rest(trainer, job, processor, Path(folder))
    return numbers


def _fastest(trainer: Any, batch: dict[str, Any], job: Job, clock: Clock) -> dict[str, dict[str, float]]:
    """Parts of the fastest of the timed passes, scaled to the whole group."""
    passes = []
    for _ in range(job.repeats):
        clock.wall.clear()
        clock.processor.clear()
        rows = _pass(trainer, batch, job, clock, job.timed_rows)
        scale = job.group / rows
        passes.append([{name: value * scale for name, value in part.items()} for part in (clock.wall, clock.processor)])
    wall, processor = (min((p[i] for p in passes), key=lambda part: part["forward"] + part["backward"]) for i in (0, 1))
    return {"wall": wall, "processor": processor}


def _pass(trainer: Any, batch: dict[str, Any], job: Job, clock: Clock, rows: int) -> int:
    """Loss and backward over micro-batches of at least `rows` rows; returns how many there were."""
    done = 0
    while done < min(rows, job.group):
        part = {name: _rows(value, slice(done, done + job.micro)) for name, value in batch.items()}
        if job.path == "trl":
            part |= _images(batch, job.micro)
        with clock.part("forward"):
            loss = trainer._compute_loss(trainer.model, part)
        with clock.part("backward"):
            trainer.accelerator.backward(loss)
        done += job.micro
    return done


def _rows(value: Any, rows: slice) -> Any:
    return value if isinstance(value, torch.Tensor) and not value.ndim else value[rows]


def _rest(trainer: Any, job: Job, processor: Any, folder: Path) -> dict[str, float]:
    """Seconds of decoding a file, of the rollouts on ordered and shuffled frames and of the optimizer."""
    clock = Clock(job.device)
    clip = noise(job)
    write_clip(folder / "noise.mp4", clip.frames, int(FPS))
    pixels = job.side * job.side
    sizes: dict[str, Any] = {"frames": job.frames, "min_frames": 4, "min_pixels": pixels, "max_pixels": pixels}
    with clock.part("decode"):
        open_clip(str(folder / "noise.mp4"), "video", fps=FPS, **sizes)
    encoded = _encoded(processor, clip)
    view = View("0", False, list(range(job.frames)), encoded, clip)
    copies = [count for count in (job.group, job.shuffled) if count]
    requests = [RolloutRequest("", "video", view, list(range(count))) for count in copies]
    trainer._rollouts._config.min_new_tokens = job.answer
    with clock.part("rollout"):
        trainer._complete(requests)
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-6)
    optimizer.step()
    with clock.part("optimizer"):
        optimizer.step()
    return dict(clock.wall)


def _encoded(processor: Any, clip: Clip) -> EncodedPrompt:
    prompt = render([record()], processor, template="brief", system=CORPUS[1])[0]
    store = ClipStore(lambda *_: clip, 1.0)
    views = open_views(prompt, 1, clips=store, processor=processor, perturbations=(), seed=0, on_skip=_no_skip)
    if views is None:
        raise RuntimeError("noise always opens")
    return views.ordered.encoded


def _no_skip(row: Record, reason: str) -> None:
    raise RuntimeError(f"{row.path}: {reason}")


def _answers(job: Job, prompt: torch.Tensor) -> dict[str, Any]:
    """TRL's buffer of a group whose answers have one length."""
    torch.manual_seed(1)
    shape = (job.group, job.answer)
    rows = {
        "prompt_ids": prompt.expand(job.group, -1),
        "prompt_mask": torch.ones(job.group, len(prompt), dtype=torch.long),
        "completion_ids": torch.randint(FIRST_ID, 100, shape),
        "completion_mask": torch.ones(shape, dtype=torch.long),
        "advantages": torch.linspace(-1, 1, job.group + job.group % 2)[: job.group],
        "num_items_in_batch": torch.tensor(job.group * job.answer),
    }
    return {name: value.to(job.device) for name, value in rows.items()}


def _ours(job: Job, model: Any, processor: Any, folder: Path) -> tuple[Any, dict[str, Any], int]:
    frozen = CACHED in job.levers
    train_encoder(model, not frozen)
    settings = Grpo(
        steps=1,
        train_vision=not frozen,
        cache_features_gb=float(frozen),
        prompts_per_step=1,
        group=job.group,
        beta=0.0,
        micro_batch=job.micro,
        sampling={"temperature": 1.0, "top_p": 1.0, "max_tokens": job.answer},
        dtype=job.dtype,
        **{lever: lever in job.levers for lever in LEVERS},
    )
    asked = Prompt(record(), prompt_text(processor, messages(record(), template="brief", system=CORPUS[1])))
    trainer = VideoGRPOTrainer(
        model=model,
        processor=processor,
        prompts=[asked],
        order=[0],
        clips=ClipStore(lambda *_: noise(job), 1.0),
        options=options_of(settings),
        args=arguments(settings, 0, folder),
        log=RolloutLog(folder / "rollouts"),
        on_skip=_no_skip,
        rollouts=partial(rollouts, folder=str(folder), settings=settings, rows=job.group),
    )
    encoded = _encoded(processor, noise(job))
    batch = _answers(job, encoded.ids)
    batch |= {
        "view": ["0"] * job.group,
        "prompt": [encoded] * job.group,
        "problem_type": [record().problem_type] * job.group,
    }
    batch |= {"valid": torch.ones(job.group, dtype=torch.bool, device=job.device)}
    return trainer, batch, len(encoded.ids)


def _trl(job: Job, model: Any, processor: Any, folder: str) -> tuple[Any, dict[str, Any], int]:
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[lambda **_: [0.0]],
        args=GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=job.group,
            num_generations=job.group,
            beta=0.0,
            loss_type="grpo",
            gradient_checkpointing=False,
            bf16=job.dtype == "bfloat16",
            use_cpu=job.device == "cpu",
            report_to="none",
        ),
        train_dataset=Dataset.from_dict({"prompt": ["?"] * job.group}),
        processing_class=processor,
    )
    written = of_processor(processor).written
    text = prompt_text(processor, messages(record(), template="brief", system=CORPUS[1]))
    text = text.replace(written["video"], written["image"] * job.frames)
    inputs = processor(
        text=[text], images=list(noise(job).frames), images_kwargs={"do_resize": False}, return_tensors="pt"
    )
    batch = _answers(job, inputs["input_ids"][0])
    kinds = inputs["mm_token_type_ids"][0]
    kinds = torch.cat([kinds, kinds.new_zeros(job.answer)]).expand(job.group, -1)
    batch |= {"mm_token_type_ids": kinds.to(job.device), "_pixels": inputs["pixel_values"].to(job.device)}
    return trainer, batch | {"_grid": inputs["image_grid_thw"].to(job.device)}, len(inputs["input_ids"][0])


def _images(batch: dict[str, Any], rows: int) -> dict[str, Any]:
    """TRL's image arguments of a micro-batch: every row its own copy."""
    pixels, grid = batch["_pixels"], batch["_grid"]
    return {
        "pixel_values": pixels.repeat(rows, 1),
        "image_grid_thw": grid.repeat(rows, 1),
        "num_images": [len(grid)] * rows,
    }
