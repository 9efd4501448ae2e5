"""`python -m measure.rehearsal`: the profile video_r1_7b through every stage on a processor, with few layers and rows.

    python -m measure.rehearsal                   widths of the 3B model, the profile's own pixels, bfloat16
    python -m measure.rehearsal --size 7b         widths of the 7B model, whose training takes about 30 GB
    python -m measure.rehearsal --size tiny       the same road with a model of a few weights

Twice through the data stages: with a teacher who annotates, and from a file of reasoning (`start: cot`), which SFT then
learns from. GRPO's completions are paid by a rule that random models meet (`stage.py`). Afterwards SFT and GRPO once
more with weights sharded over two processes. Prints seconds and peak memory of each stage, and stops at one that fails.
"""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from measure.cost import in_memory
from measure.rehearsal.checkpoint import SIZES
from measure.rehearsal.inputs import BASE, ROOT, make
from tasks import paths, profile
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.given import whole_number

PROFILE = "video_r1_7b"
FSDP = ROOT / "profiles/accelerate/fsdp_4gpu.yaml"
LIMIT_SECONDS = 3600.0
"""Longest that a stage may take."""
TEACHER = ["ingest", "validate records", "annotate", "validate cot"]
REASONING = [*TEACHER, "filter", "validate sft", "sft", "grpo"]
ANSWERS = ["benchmark run base", "benchmark run grpo", "validate predictions", "report"]
TRAINED = ("sft", "grpo")


class Ran(NamedTuple):
    """One stage."""

    name: str
    seconds: float
    processor_seconds: float
    peak_gib: float
    """Of its processes together, five times a second, shared pages once; at least of the largest."""
    outcome: str
    """Its last line, and of a training stage the largest gradient norm."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse and print the table."""
    parser = OneLineParser(prog="python -m measure.rehearsal", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="3b")
    parser.add_argument("--max-pixels", type=whole_number(), help="pixels of a frame; without it the profile's")
    parser.add_argument("--folder", type=Path, help="kept; without it a temporary one")
    parser.add_argument(
        "--processes", type=whole_number(), default=2, help="that share the weights at the end; 1 leaves it out"
    )
    parser.add_argument("--out", type=Path, help="the table as Markdown, once all is through")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.folder is not None:
            if folder.exists():
                raise StageError(f"--folder {folder} exists; remove it, or name another")
            folder.mkdir(parents=True)
        done = rehearse(folder, options.size, options.max_pixels, options.processes)
    if options.out is not None:
        write_text(options.out, table(done, options.size))
    print("the rehearsal is through")
    return 0


def rehearse(folder: Path, size: str, max_pixels: int | None, processes: int) -> list[Ran]:
    """Everything below `folder`, which is empty; what each stage took."""
    begun = time.monotonic()
    # In a process of its own: what this one once held would count as the peak of each that it starts.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        summary, used = pool.submit(make, folder, size).result()
    done = [told(ran("checkpoint, data", time.monotonic() - begun, used, summary))]
    for start, stages in (("teacher", TEACHER), ("cot", [*REASONING, *ANSWERS])):
        write_params(folder, start, max_pixels)
        done += [told(run(folder, stage)) for stage in stages]
    done += [told(run(folder, stage, processes)) for stage in (TRAINED if processes > 1 else ())]
    return done


def write_params(folder: Path, start: str, max_pixels: int | None) -> None:
    """The profile with what a processor and a handful of rows need; everything else is the profile's."""
    values = yaml.safe_load(profile.text_of(PROFILE, ROOT / "profiles"))
    path = "data/raw/Video-R1-COT-165k.json" if start == "cot" else str(BASE)
    for place, value in changes(start, path, max_pixels).items():
        section, _, field = place.partition(".")
        if field:
            values[section][field] = value
        else:
            values[section] = value
    (folder / paths.PARAMS).write_text(yaml.safe_dump(values))


def changes(start: str, path: str, max_pixels: int | None) -> dict[str, Any]:
    """Dotted place -> value."""
    pixels = {} if max_pixels is None else {"video.min_pixels": max_pixels // 2, "video.max_pixels": max_pixels}
    return {
        "models.teacher": str(BASE),
        "start": {"at": start, "path": path, "media_root": None},
        **pixels,
        "video.decode_workers": 1,
        "engine.backend": "transformers",
        "engine.tensor_parallel": 1,
        "engine.batch_size": 2,
        "ingest.workers": 1,
        "validate": {"max_quarantined_share": 0.02, "min_rows": 1},
        "annotate.sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12},
        "sft.frame_cache_gb": 0.5,
        "grpo.steps": 2,
        "grpo.group": 4,
        "grpo.objective": {"kind": "tgrpo_reward", "completions": 2},
        "grpo.sampling": {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12},
        "grpo.rollout_engine": "transformers",
        "grpo.rollout_sleep": None,
        "grpo.frame_cache_gb": 0.5,
        "benchmark.sampling": {"temperature": 0.1, "top_p": 0.001, "max_tokens": 8},
        "benchmark.suites": [],
        "benchmark.rows": 3,
    }


def run(folder: Path, stage: str, processes: int = 1) -> Ran:
    """One stage as a process of its own, or several that share its weights.

    Raises:
        StageError: it failed, or its training moved nothing; with the end of what it printed.
    """
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "accelerate.commands.launch", "--config_file", str(FSDP), "--num_processes", str(processes)]
        command += ["--main_process_port", "0"]
    command += ["-m", "measure.rehearsal.stage", *stage.split()]
    name = stage if processes == 1 else f"{stage}, {processes} x FSDP2"
    log = folder / "logs" / f"{name.replace(' ', '_')}.txt"
    log.parent.mkdir(exist_ok=True)
    begun = time.monotonic()
    with log.open("w") as file:
        child = subprocess.Popen(command, cwd=folder, env=environment(), stdout=file, stderr=subprocess.STDOUT)
        used, together = wait(child, begun + LIMIT_SECONDS)
    text = log.read_text()
    if child.returncode:
        raise StageError(f"{name}: ended with {child.returncode}:\n{text[-3000:]}")
    lines = text.splitlines() or [""]
    own = [line for line in lines if line.startswith(stage.split()[0])]
    outcome = (own or lines)[-1] + (f"; gradient norm up to {gradient(folder, stage):.3g}" if stage in TRAINED else "")
    return ran(name, time.monotonic() - begun, used, outcome, together)


def ran(name: str, seconds: float, used: resource.struct_rusage, outcome: str, together: int = 0) -> Ran:
    """What a process used, in the table's units; `together`: bytes of it and its children at their peak."""
    peak = max(used.ru_maxrss / 2**20, together / 2**30)
    return Ran(name, seconds, used.ru_utime + used.ru_stime, peak, outcome)


def wait(child: subprocess.Popen[bytes], until: float) -> tuple[resource.struct_rusage, int]:
    """What a child used, and bytes in memory of it and its children; it is ended at a time of the monotonic clock."""
    together = 0
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return used, together
        if time.monotonic() > until:
            child.kill()
        together = max(together, in_memory(child.pid, shared_once=sys.platform.startswith("linux")))
        time.sleep(0.2)


def gradient(folder: Path, stage: str) -> float:
    """The largest gradient norm of a training stage's curve.

    Raises:
        StageError: there was none.
    """
    with (folder / paths.curve(stage)).open() as file:
        norms = [float(row["grad_norm"]) for row in csv.DictReader(file)]
    if not norms or max(norms) <= 0:
        raise StageError(f"{stage}: no step had a gradient: {norms}")
    return max(norms)


def environment() -> Mapping[str, str]:
    """A processor alone, and the project's own modules; freed blocks above 1 MiB go back to the machine.

    By itself glibc raises that bound to 32 MiB as a process goes on, and then keeps about half a GiB of each process
    that nothing is in.
    """
    own = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **own, "MALLOC_MMAP_THRESHOLD_": str(2**20)}


def told(ran: Ran) -> Ran:
    """Print a line of the table as soon as it is known."""
    sizes = f"{ran.seconds:7.1f} s {ran.processor_seconds:8.1f} s CPU {ran.peak_gib:6.2f} GiB"
    print(f"{ran.name:<22} {sizes}  {ran.outcome}", flush=True)
    return ran


def table(done: Sequence[Ran], size: str) -> str:
    """The stages as Markdown."""
    lines = [
        f"# Rehearsal of {PROFILE}, widths of {size}",
        "",
        "| stage | seconds | processor seconds | peak GiB | outcome |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for each in done:
        figures = f"{each.seconds:.0f} | {each.processor_seconds:.0f} | {each.peak_gib:.1f}"
        lines.append(f"| {each.name} | {figures} | {each.outcome.replace('|', '/')} |")
    seconds, peak = sum(each.seconds for each in done), max(each.peak_gib for each in done)
    return "\n".join([*lines, "", f"{seconds / 60:.0f} minutes in all, {peak:.1f} GiB at most.", ""])


if __name__ == "__main__":
    run_stage(main)
