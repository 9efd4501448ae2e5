"""`python -m measure.speed.decode`: decoding against qwen-vl-utils, a hit in the frame cache, and decoding ahead.

Three ways to the same frames of every clip of a folder, each the fastest of several turns, taken in turn:

    decode   what stages do without a cache: sample, decode, resize, all in a child process
    hit      the same frames from the cache on disk, checksum included
    qwen     qwen-vl-utils with decord where it is installed, else its documented steps: decord with its own choice of
             threads, frames spread by torch.linspace, torchvision's bicubic resize with antialiasing to float32

Then how long one waits for a clip, by the clock on the wall, who leaves the processor alone for `--compute-ms` after
each: without workers, and with one and two that decode the next ones meanwhile.

    python -m measure.speed.decode --clips FOLDER --frames 16 --max-pixels 105369
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_tool
from tasks.core.io.given import real_number, whole_number
from tasks.core.video import Ahead, Clip, VideoError, frame_count, frame_indices, open_clip, smart_resize
from tasks.core.video.guard import processor_seconds

SUFFIXES = (".mp4", ".gif", ".mkv", ".webm", ".avi", ".mov")
TESTS = Path("tests/fixtures/clips")
CACHE_GB = 1.0
WORKERS = (0, 1, 2)
NEXT = 4
"""Clips expected besides the present one."""
MILLI = 1000.0


class Row(NamedTuple):
    """One clip; times in milliseconds, None where a way does not take the file."""

    name: str
    source_seconds: float
    shape: str
    decode: float
    hit: float
    qwen: float | None


def main() -> int:
    """Measure every clip, print and write the table."""
    options = _options()
    names = ("frames", "fps", "min_frames", "min_pixels", "max_pixels")
    settings = {name: getattr(options, name) for name in names}
    clips = sorted(path.resolve() for path in Path(options.clips).iterdir() if path.suffix.lower() in SUFFIXES)
    if not clips:
        print(f"{options.clips}: no clips", file=sys.stderr)
        return 1
    qwen = "qwen-vl-utils" if importlib.util.find_spec("qwen_vl_utils") else "qwen-vl-utils' steps, re-created"
    clock = {"wall": time.perf_counter, "processor": processor_time}[options.clock]
    out, home = Path(options.out).resolve(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # a cache of its own, empty at the start
        rows = [row for path in clips if (row := measure(path, settings, options.turns, clock)) is not None]
        os.chdir(home)
    read = partial(open_clip, data_type="video", **settings)
    clips = [str(path) for path in clips if path.name in {row.name for row in rows}] * options.turns
    waited = {workers: waits(read, clips, options.compute_ms / MILLI, workers) for workers in WORKERS}
    text = table(rows, qwen, options) + ahead_line(waited, options.compute_ms)
    write_text(out, text)
    print(text)
    return 0


def processor_time() -> float:
    """Seconds of this process and of the children that read for it."""
    return time.process_time() + processor_seconds()


def measure(path: Path, settings: dict[str, Any], turns: int, clock: Callable[[], float]) -> Row | None:
    """Time one clip; None, with a word on stderr, when it does not decode."""
    ways: dict[str, Callable[[], Any]] = {
        "decode": partial(open_clip, str(path), "video", **settings),
        "hit": partial(open_clip, str(path), "video", **settings, disk_cache_gb=CACHE_GB),
        "qwen": partial(as_qwen_vl_utils, path, settings),
    }
    try:
        clip: Clip = ways["hit"]()
    except VideoError as error:
        print(f"perf: left out: {error}", file=sys.stderr)
        return None
    best: dict[str, float | None] = {}
    for _ in range(turns):
        for name, way in ways.items():
            start = clock()
            try:
                way()
            except Exception as error:
                if name != "qwen":
                    raise
                # What another project makes of a clip is a finding, not a fault of this one.
                print(f"perf: {path.name}: qwen: {str(error).splitlines()[0]}", file=sys.stderr)
                best[name] = None
                continue
            taken = (clock() - start) * MILLI
            best[name] = min(taken, best.get(name) or taken)
    shape = "x".join(str(n) for n in clip.frames.shape[:3])
    return Row(path.name, clip.duration_seconds, shape, best["decode"] or 0.0, best["hit"] or 0.0, best["qwen"])


def as_qwen_vl_utils(path: Path, settings: dict[str, Any]) -> Any:
    """The clip as qwen-vl-utils gives it: float32 (T, 3, H, W), the same frames at the same size."""
    import torch
    from decord import VideoReader
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    if importlib.util.find_spec("qwen_vl_utils"):
        from qwen_vl_utils import fetch_video

        names = {"frames": "max_frames", "fps": "fps", "min_frames": "min_frames"}
        budget = {"min_pixels": settings["min_pixels"], "max_pixels": settings["max_pixels"]}
        return fetch_video({"video": str(path), **{name: settings[key] for key, name in names.items()}, **budget})
    reader = VideoReader(str(path))
    total = len(reader)
    sampling = {name: settings[name] for name in ("frames", "fps", "min_frames")}
    count = frame_count(total, reader.get_avg_fps(), **sampling)
    frames = torch.tensor(reader.get_batch(frame_indices(total, count)).asnumpy()).permute(0, 3, 1, 2)
    height, width = frames.shape[2:]
    size = smart_resize(height, width, min_pixels=settings["min_pixels"], max_pixels=settings["max_pixels"])
    return resize(frames, list(size), interpolation=InterpolationMode.BICUBIC, antialias=True).float()


def waits(read: Callable[[str], Any], paths: Sequence[str], compute: float, workers: int) -> float:
    """Mean milliseconds of waiting for a clip, the first one, which nothing precedes, left out.

    Args:
        read: decodes.
        paths: clips in the order of use; one may come again.
        compute: seconds between clips.
        workers: threads that decode ahead.
    """
    places, waited = range(len(paths)), 0.0
    with Ahead[int, Any](lambda place: read(paths[place]), workers) as ahead:
        for place in places:
            ahead.expect(places[place : place + 1 + NEXT])
            start = time.perf_counter()
            ahead.take(place)
            waited += (time.perf_counter() - start) if place else 0.0
            time.sleep(compute)
    return waited / max(1, len(paths) - 1) * MILLI


def ahead_line(waited: Mapping[int, float], compute_ms: float) -> str:
    """Waiting by number of workers, in words."""
    each = ", ".join(f"{value:.1f} ms with {workers}" for workers, value in waited.items())
    return f"\nwait for a clip, {compute_ms:g} ms of other work after each, by workers: {each}\n"


def table(rows: Sequence[Row], qwen: str, options: argparse.Namespace) -> str:
    """Markdown: a line per clip, and a line of totals."""
    lines = [
        "# Decoding",
        "",
        "| clip | seconds | frames | decode ms | hit ms | qwen ms | hit is faster | against qwen |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        other, ratio = ("", "") if row.qwen is None else (f"{row.qwen:.1f}", f"{row.qwen / row.decode:.2f}x")
        lines.append(
            f"| {row.name} | {row.source_seconds:.1f} | {row.shape} | {row.decode:.1f} | {row.hit:.2f} | {other} "
            f"| {row.decode / row.hit:.0f}x | {ratio} |"
        )
    both = [row for row in rows if row.qwen is not None]
    ours, theirs = sum(row.decode for row in both), sum(row.qwen or 0.0 for row in both)
    faster = sum(row.decode for row in rows) / sum(row.hit for row in rows)
    against = f"{theirs / ours:.2f}x {qwen}" if both else f"{qwen} takes none of them"
    return "\n".join(
        [
            *lines,
            "",
            f"{options.clock.capitalize()} time, the fastest of {options.turns} turns, at most {options.frames} frames "
            f"of at most {options.max_pixels} pixels.",
            "",
            f"decode: {against}; cache hit: {faster:.0f}x a decode, at the least "
            f"{min(row.decode / row.hit for row in rows):.0f}x",
            "",
        ]
    )


def _options() -> argparse.Namespace:
    parser = OneLineParser(prog="python -m measure.speed.decode", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", default=str(TESTS), help="folder of clips")
    parser.add_argument("--frames", type=whole_number(), default=16)
    parser.add_argument("--fps", type=real_number(above=0), default=2.0)
    parser.add_argument("--min-frames", type=whole_number(), default=4)
    parser.add_argument("--min-pixels", type=whole_number(), default=3136)
    parser.add_argument("--max-pixels", type=whole_number(), default=105369)
    parser.add_argument("--turns", type=whole_number(), default=3)
    parser.add_argument(
        "--compute-ms", type=real_number(least=0), default=300.0, help="work of others between two clips"
    )
    parser.add_argument("--clock", default="wall", choices=("wall", "processor"), help="processor: on a busy machine")
    parser.add_argument("--out", default="reports/perf/decode.md")
    return parser.parse_args()


if __name__ == "__main__":
    run_tool(main)
