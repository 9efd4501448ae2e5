"""`python -m measure.speed.sft`: a training step padded, grouped by length and padding-free, on rendered clips.

Every path goes over the same rows of the mini world with the settings of params.yaml, in a process of its own, so that
peak memory is its own. A step is collating (clips decoded before), loss, backward and optimizer.

    python -m measure.speed.sft --rows 256 --clock processor
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tasks import params
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_tool
from tasks.core.io.given import whole_number

PATHS: dict[str, dict[str, bool]] = {
    "padded": {"padding_free": False, "group_by_length": False},
    "grouped by length": {"padding_free": False, "group_by_length": True},
    "padding-free": {"padding_free": True, "group_by_length": False},
}
"""Settings of each path; the first is what the others are compared with."""
SEED = 7
NOTE = """Milliseconds are {clock} time of a step of the `sft` section of params.yaml, threads: {threads}, device:
{device}; {rows} rows of the mini world, the fastest of {turns} turns after a warm one. Padding is its share of the
tokens. Peak memory is what steps take above weights, gradients and optimizer state."""


class Cost(NamedTuple):
    """What one path took for all rows, the fastest of its turns."""

    steps: int
    tokens: int
    """Computed by the language model, padding included."""
    padding: int
    """Of these, padding."""
    seconds: dict[str, dict[str, float]]
    """Clock ("wall", "processor") -> part ("collate", "update") -> seconds."""
    peak_mb: float
    """Above weights, gradients and optimizer state."""


def main() -> int:
    """Measure every path in a child, then write and print the table."""
    options = _options()
    if options.job:
        print(json.dumps(measure(**json.loads(options.job))))
        return 0
    costs: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder), options.rows)
        for name in PATHS:
            print(f"perf: {name}", file=sys.stderr)
            job = {"name": name, "folder": folder, "turns": options.turns, "device": options.device}
            costs[name] = _run(job, options.threads)
    text = table(costs, options)
    write_text(Path(options.out), text)
    print(text)
    return 0


def render(folder: Path, rows: int) -> None:
    """Clips and records of the mini world, each with the reasoning of its question."""
    import numpy as np

    from tasks.core.world.questions import ask
    from tasks.core.world.split import draw_row, make_split

    records = make_split(folder, rows, SEED)
    for number, record in enumerate(records):
        random = np.random.default_rng((SEED, number))  # the row's own stream, in which its question was drawn
        record["process"] = f"<think>{ask(draw_row(random)[1], random).reasoning}</think>"
        record["path"] = str(folder / record["path"])
    write_text(folder / "records.json", json.dumps(records))


def measure(name: str, folder: str, turns: int, device: str) -> Cost:
    """Time one path over the rows of a folder, after a warm pass."""
    import torch

    from measure.speed.clock import Clock, Peak
    from tasks.core.models.load import frame_shape_in, load_model, load_processor
    from tasks.core.schemas.parsing import parse_record
    from tasks.core.train.clips import open_store
    from tasks.sft.data import Collator, examples, most_visual_tokens, row_packer
    from tasks.sft.train import trainer_of

    config = params.load()
    settings = config.sft.model_copy(update=PATHS[name])
    raw = json.loads(Path(folder, "records.json").read_text())
    records = [parse_record(row, f"row {number}") for number, row in enumerate(raw)]
    processor = load_processor(config.base())
    model = load_model(config.base(), "float32", device)
    rows = examples(records, processor, **config.prompt.model_dump())
    clips = open_store(
        {**config.video.opening(), **frame_shape_in(config.base())._asdict(), "disk_cache_gb": 0.0},
        settings.frame_cache_gb,
        0,
    )
    collator = Collator(rows, processor, clips, _no_skip, row_packer(model, settings.padding_free))
    trainer = trainer_of(
        model,
        processor,
        rows,
        collator,
        settings=settings,
        seed=SEED,
        work=Path(folder, name),
        visual=most_visual_tokens(processor, config.video.frames, config.video.max_pixels),
    )
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.0)
    model.train()
    steps, tokens, padding = _epoch(trainer, optimizer, Clock(device))
    peak, passes = Peak(device), []
    for _ in range(turns):
        clock = Clock(device)
        _epoch(trainer, optimizer, clock)
        passes.append({"wall": dict(clock.wall), "processor": dict(clock.processor)})
    best = {kind: min((part[kind] for part in passes), key=lambda part: sum(part.values())) for kind in passes[0]}
    return Cost(steps, tokens, padding, best, peak.above())


def _epoch(trainer: Any, optimizer: Any, clock: Any) -> tuple[int, int, int]:
    """Steps over all rows; how many there were, their tokens, and how many of them were padding."""
    steps = tokens = padding = 0
    batches = iter(trainer.get_train_dataloader())
    while True:
        with clock.part("collate"):
            batch = next(batches, None)
        if batch is None:
            return steps, tokens, padding
        count, real = batch["input_ids"].numel(), int(batch["attention_mask"].sum())
        steps, tokens, padding = steps + 1, tokens + count, padding + count - real
        with clock.part("update"):
            with trainer.accelerator.autocast():
                loss = trainer.compute_loss(trainer.model, batch)
            trainer.accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)  # gradients are held, as by an accumulating step


def _no_skip(record: Any, reason: str) -> None:
    raise RuntimeError(f"{record.path}: {reason}")


def table(costs: dict[str, Cost], options: argparse.Namespace) -> str:
    """Markdown: a line for each path, and the line that sums them up."""
    lines = [
        "# SFT step",
        "",
        "| path | tokens a step | padding | collate ms | update ms | step ms | peak MiB | faster | memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    plain = next(iter(costs.values()))
    for name, cost in costs.items():
        parts = {part: seconds / cost.steps * 1000 for part, seconds in cost.seconds[options.clock].items()}
        lines.append(
            f"| {name} | {cost.tokens / cost.steps:.0f} | {cost.padding / cost.tokens:.1%} | {parts['collate']:.1f} "
            f"| {parts['update']:.1f} | {sum(parts.values()):.1f} | {cost.peak_mb:.0f} "
            f"| {faster(plain, cost, options.clock):.2f}x | {cost.peak_mb / plain.peak_mb:.2f}x |"
        )
    return "\n".join(
        [
            *lines,
            "",
            NOTE.format(**vars(options)),
            "",
            f"sft step: {faster(plain, costs['padding-free'], options.clock):.1f}x padded",
            "",
        ]
    )


def faster(plain: Cost, other: Cost, clock: str) -> float:
    """How many times the rows of `plain` the other path takes in the same time."""
    return sum(plain.seconds[clock].values()) / sum(other.seconds[clock].values())


def _run(job: dict[str, Any], threads: int) -> Cost:
    command = [sys.executable, "-m", "measure.speed.sft", "--job", json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def _options() -> argparse.Namespace:
    parser = OneLineParser(prog="python -m measure.speed.sft", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--rows", type=whole_number(), default=256, help="8 batches and more, or grouping has nothing to choose"
    )
    parser.add_argument("--turns", type=whole_number(), default=3)
    parser.add_argument("--clock", default="wall", choices=("wall", "processor"), help="processor: on a busy machine")
    parser.add_argument("--threads", type=whole_number(), default=os.cpu_count() or 1)
    parser.add_argument("--device", default=None, choices=("cpu", "cuda"))
    parser.add_argument("--out", default="reports/perf/sft.md")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device is None and not options.job:
        import torch

        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    return options


if __name__ == "__main__":
    run_tool(main, params.ParamsError)
