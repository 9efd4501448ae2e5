"""`python -m measure.annotate`: completions a second of vLLM and of transformers at its best batch.

A random model of a given shape answers the same questions about clips of noise by each engine, sampled as annotate
samples. Each engine works in a process of its own, after a few completions that do not count; transformers with each of
`--batches`, of which the best counts. vLLM has two rounds with clips of the frame cache (cached) and two with clips
that are decoded (cold), in turn, each with clips of its own, since it keeps what it has read. A random model says
nothing about the quality of answers.

    python -m measure.annotate --hidden 512 --layers 8 --questions 96 --tokens 128
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.annotate.annotate import answer_all
from tasks.annotate.plan import Question
from tasks.core.engine.open import open_engine
from tasks.core.engine.types import Engine
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_tool
from tasks.core.io.errors import StageError
from tasks.core.io.given import whole_number
from tasks.core.schemas.records import Record
from tasks.core.video import ReadClip, open_clip
from tasks.core.world.render import write_clip
from tasks.params import World

ROOT = Path(__file__).parents[1]
CACHE_GB = 4.0
ROUNDS = ["cached", "cold", "cached", "cold"]
WARM = 2
"""Questions answered before the clock starts."""


class Speed(NamedTuple):
    """One way to answer all questions."""

    way: str
    seconds: float
    completions: int
    tokens: int

    @property
    def rate(self) -> float:
        """Completions a second."""
        return self.completions / self.seconds


def main() -> int:
    """Measure both engines, print the table and the ratio."""
    options = _options()
    if options.child:
        print(json.dumps(answer(json.loads(options.child))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or str(make_model(Path(folder) / "model", options))
        make_clips(Path(folder), options)
        ways = [("vllm", options.in_flight, ROUNDS)]
        ways += [("transformers", batch, ["cached"]) for batch in options.batches]
        speeds = []
        for backend, batch, media in ways:
            settings = {"model": model, "backend": backend, "batch": batch, "media": media}
            speeds += in_child(folder, vars(options) | {"out": None} | settings)
    for speed in speeds:
        print(f"{speed.way:24} {speed.rate:8.3f} completions/s {speed.tokens / speed.seconds:9.1f} tokens/s")
    print(last := summary(speeds))
    if options.out is not None:
        write_text(options.out, table(speeds, options, last))
    return 0


def summary(speeds: list[Speed]) -> str:
    """Both engines at their best, and what decoding costs."""
    vllm = {media: max(s.rate for s in speeds if s.way.endswith(media)) for media in ("cached", "cold")}
    best = max((speed for speed in speeds if speed.way.startswith("transformers")), key=lambda speed: speed.rate)
    ratio, lost = vllm["cached"] / best.rate, 100 * (1 - vllm["cold"] / vllm["cached"])
    return (
        f"annotate: vllm {vllm['cached']:.3f}, {best.way} {best.rate:.3f} completions/s, ratio {ratio:.2f}; "
        f"cold media {lost:.1f} % slower than cached"
    )


def table(speeds: list[Speed], options: argparse.Namespace, last: str) -> str:
    """The rounds as Markdown."""
    shape = f"{options.layers} layers of {options.hidden}, {options.dtype}" if options.model is None else options.model
    lines = [
        "# Completions of annotate, vLLM and transformers",
        "",
        f"`{options.family}`, {shape}; {options.questions} questions a round, clips of {options.frames} frames of "
        f"{options.side} x {options.side}, up to {options.tokens} tokens; {os.cpu_count()} processor cores.",
        "",
        "| engine, requests at once, media | completions/s | tokens/s |",
        "| --- | ---: | ---: |",
        *(f"| {speed.way} | {speed.rate:.2f} | {speed.tokens / speed.seconds:.0f} |" for speed in speeds),
    ]
    return "\n".join([*lines, "", last]) + "\n"


def make_model(folder: Path, options: argparse.Namespace) -> Path:
    """A random checkpoint of the shape asked for."""
    from tasks.core.models.load import save_model
    from tasks.core.world.model import build_model, build_processor

    words = [f"word{number} asks which way does it move left or right answer think" for number in range(400)]
    processor = build_processor(options.family, words, vocabulary=600)
    model = build_model(
        processor,
        architecture=options.family,
        hidden_size=options.hidden,
        layers=options.layers,
        heads=options.heads,
        vision_layers=options.vision_layers,
        seed=1,
    )
    save_model(model, processor, folder)
    return folder


def make_clips(folder: Path, options: argparse.Namespace) -> None:
    """A clip of moving noise for each question."""
    random = np.random.default_rng(0)
    for number in range(options.questions * len(ROUNDS) + WARM):
        coarse = random.integers(0, 256, (options.frames, 8, 8, 3), dtype=np.uint8)
        side = options.side // 8
        write_clip(folder / f"{number}.mp4", coarse.repeat(side, axis=1).repeat(side, axis=2))


def in_child(folder: str, settings: dict[str, Any]) -> list[Speed]:
    """Speeds of one engine, in a process of its own that works in `folder`.

    Raises:
        StageError: the process failed; its words are on stderr.
    """
    command = [sys.executable, "-m", "measure.annotate", "--child", json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise StageError(
            f"{settings['backend']}: the engine's process ended with {done.returncode}; its words are above"
        )
    return [Speed(*row) for row in json.loads(done.stdout.splitlines()[-1])]


def answer(settings: dict[str, Any]) -> list[Speed]:
    """Answer all questions once for each way of coming by the clips."""
    count, rounds = settings["questions"], settings["media"]
    questions = [Question(str(number), question(number), 0, 1) for number in range(count * len(rounds) + WARM)]
    with open_engine(
        settings["backend"],
        settings["model"],
        dtype=settings["dtype"],
        max_model_len=settings["max_model_len"],
        batch_size=settings["batch"],
        kv_cache_gb=2,
    ) as engine:
        timed(engine, questions[:WARM], "cached", settings)
        parts = [questions[start : start + count] for start in range(WARM, len(questions), count)]
        speeds = []
        for media, part in zip(rounds, parts, strict=True):
            if media == "cached":
                for item in part:
                    reader(settings, media)(item.record.path, "video")
            speeds.append(timed(engine, part, media, settings))
        return speeds


def reader(settings: dict[str, Any], media: str) -> ReadClip:
    """Opens clips, out of the frame cache or by decoding them."""
    area = settings["side"] ** 2
    cache_gb = CACHE_GB if media == "cached" else 0.0
    sampling = {"frames": settings["frames"], "fps": 2.0, "min_frames": 2, "min_pixels": area, "max_pixels": area}
    return partial(open_clip, **sampling, disk_cache_gb=cache_gb)


def timed(engine: Engine, questions: list[Question], media: str, settings: dict[str, Any]) -> Speed:
    """Answer the questions; one that fails ends the measurement."""
    begun = time.perf_counter()
    batches = answer_all(
        engine,
        questions,
        reader(settings, media),
        decode_workers=1,
        template="brief",
        system="You are a helpful assistant.",
        seed=0,
        temperature=1.0,
        top_p=0.95,
        max_tokens=settings["tokens"],
    )
    rows = [row for batch in batches for row in batch]
    if failed := [row["error"] for row in rows if row["error"]]:
        raise SystemExit(f"measure.annotate: {settings['backend']}: {failed[0]}")
    name = f"{settings['backend']} {settings['batch']} {media}"
    return Speed(name, time.perf_counter() - begun, len(rows), sum(row["tokens"] for row in rows))


def question(number: int) -> Record:
    """A question about clip `number`."""
    return Record(
        problem_id=number,
        problem=f"word{number} asks which way does it move",
        data_type="video",
        problem_type="multiple choice",
        options=["A. left", "B. right"],
        process="",
        solution="<answer>B</answer>",
        path=f"{number}.mp4",
    )


def _options() -> argparse.Namespace:
    parser = OneLineParser(prog="python -m measure.annotate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="checkpoint folder, absolute; else a random one of the shape below")
    parser.add_argument("--family", default=World().architecture, help="model_type of a random one")
    parser.add_argument("--hidden", type=whole_number(), default=512)
    parser.add_argument("--layers", type=whole_number(), default=8)
    parser.add_argument("--heads", type=whole_number(), default=8)
    parser.add_argument("--vision-layers", type=whole_number(), default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--max-model-len", type=whole_number(), default=1024)
    parser.add_argument("--questions", type=whole_number(), default=96)
    parser.add_argument("--tokens", type=whole_number(), default=128, help="longest completion")
    parser.add_argument("--frames", type=whole_number(), default=8)
    parser.add_argument("--side", type=whole_number(), default=112, help="of a frame, pixels")
    parser.add_argument("--in-flight", type=whole_number(), default=32, help="vLLM: requests at once")
    parser.add_argument(
        "--batches", type=whole_number(), nargs="+", default=[16, 32, 48], help="transformers: completions a call"
    )
    parser.add_argument("--out", type=Path, help="the table as Markdown")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    run_tool(main)
