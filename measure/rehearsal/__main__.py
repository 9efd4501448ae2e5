"""`python -m measure.rehearsal`: a 7B profile through every stage on a processor or a GPU, with few rows.

    python -m measure.rehearsal                   widths of the 3B model, the profile's own pixels, bfloat16
    python -m measure.rehearsal --size 7b         widths of the 7B model, whose training takes about 30 GB
    python -m measure.rehearsal --size tiny       the same road with a model of a few weights
    python -m measure.rehearsal --gpu --layers 12 --processes 1            a third of the 3B model, on a GPU
    python -m measure.rehearsal --gpu --layers 28 --size 7b --profile video_r1_7b_lora --processes 1

Twice through the data stages: with a teacher who annotates, and from a file of reasoning (`start: cot`), which SFT then
learns from. A profile that starts at a trained checkpoint goes once, without SFT. GRPO's completions are paid by a rule
that random models meet (`stage.py`). Afterwards SFT and GRPO once more with weights sharded over two processes. Prints
seconds and peak memory of each stage, and stops at one that fails.
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
from typing import NamedTuple

from measure.cost import in_memory
from measure.rehearsal.checkpoint import SIZES
from measure.rehearsal.inputs import make
from measure.rehearsal.settings import PROFILES, ROOT, Rehearsal, starts, write_params
from measure.rehearsal.stage import GPU_MEMORY, STAGES
from tasks import paths
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.given import whole_number

FSDP = ROOT / "profiles/accelerate/fsdp_4gpu.yaml"
LIMIT_SECONDS = 3600.0
"""Longest that a stage may take."""
TEACHER = ["ingest", "validate records", "annotate", "validate cot"]
REASONING = [*TEACHER, "filter", "validate sft", "sft", "grpo"]
ANSWERS = ["benchmark run base", "benchmark run grpo", "validate predictions", "report"]
ROADS = {"teacher": TEACHER, "cot": [*REASONING, *ANSWERS], "sft": [*REASONING, *ANSWERS]}
"""Where a run begins (`start.at`) -> its stages."""
TRAINED = ("sft", "grpo")


class Ran(NamedTuple):
    """One stage."""

    name: str
    seconds: float
    processor_seconds: float
    peak_gib: float
    """Of its processes together, five times a second, shared pages once; at least of the largest."""
    gpu_gib: float
    """The most that PyTorch took of a GPU; 0 without one."""
    outcome: str
    """Its last line, and of a training stage the largest gradient norm."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse and print the table."""
    parser = OneLineParser(prog="python -m measure.rehearsal", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="3b")
    parser.add_argument("--layers", type=whole_number(), help="of the language model, and all of the encoder's")
    parser.add_argument("--profile", choices=PROFILES, default=PROFILES[0])
    parser.add_argument("--gpu", action="store_true", help="on the machine's GPUs; without it on a processor")
    parser.add_argument("--max-pixels", type=whole_number(), help="pixels of a frame; without it the profile's")
    parser.add_argument("--tokens", type=whole_number(), default=12, help="of a completion, at most")
    parser.add_argument("--without", nargs="+", choices=STAGES, default=[], metavar="STAGE", help="stages left out")
    parser.add_argument("--folder", type=Path, help="kept; without it a temporary one")
    parser.add_argument(
        "--processes", type=whole_number(), default=2, help="that share the weights at the end; 1 leaves it out"
    )
    parser.add_argument("--out", type=Path, help="the table as Markdown, once all is through")
    options = parser.parse_args(arguments)
    if options.gpu:
        check_gpus(gpus(), options.processes)
    asked = Rehearsal(**{name: getattr(options, name) for name in Rehearsal._fields})
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.folder is not None:
            if folder.exists():
                raise StageError(f"--folder {folder} exists; remove it, or name another")
            folder.mkdir(parents=True)
        done = rehearse(folder, asked, options.processes)
    if options.out is not None:
        write_text(options.out, table(done, asked))
    print("the rehearsal is through")
    return 0


def gpus() -> int:
    """How many PyTorch sees."""
    import torch

    return torch.cuda.device_count()


def check_gpus(seen: int, processes: int) -> None:
    """Refuse what the machine's GPUs cannot do.

    Raises:
        StageError: there is none, or fewer than processes that want one each.
    """
    if not seen:
        raise StageError("--gpu: PyTorch sees no GPU here; leave it out, or set up with FLAVOUR=cuda")
    if processes > seen:
        raise StageError(f"--processes {processes}: PyTorch sees {seen} GPU(s), and each process wants one")


def rehearse(folder: Path, asked: Rehearsal, processes: int) -> list[Ran]:
    """Everything below `folder`, which is empty; what each stage took."""
    begun = time.monotonic()
    # In a process of its own: what this one once held would count as the peak of each that it starts.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        summary, used = pool.submit(make, folder, asked).result()
    done = [told(ran("checkpoint, data", time.monotonic() - begun, used, summary))]
    for start in starts(asked.profile):
        write_params(folder, start, asked)
        stages = [stage for stage in ROADS[start] if stage.split()[0] not in asked.without]
        done += [told(run(folder, stage, gpu=asked.gpu)) for stage in stages]
    shared = [stage for stage in TRAINED if processes > 1 and stage not in asked.without]
    done += [told(run(folder, stage, processes, asked.gpu)) for stage in shared]
    return done


def run(folder: Path, stage: str, processes: int = 1, gpu: bool = False) -> Ran:
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
        child = subprocess.Popen(command, cwd=folder, env=environment(gpu), stdout=file, stderr=subprocess.STDOUT)
        used, together = wait(child, begun + LIMIT_SECONDS)
    text = log.read_text()
    if child.returncode:
        raise StageError(f"{name}: ended with {child.returncode}:\n{text[-3000:]}")
    lines = text.splitlines() or [""]
    taken = [float(line.removeprefix(GPU_MEMORY)) for line in lines if line.startswith(GPU_MEMORY)]
    own = [line for line in lines if line.startswith(stage.split()[0])]
    outcome = (own or lines)[-1]
    if stage in TRAINED and ": skipped, " not in outcome:
        outcome += f"; gradient norm up to {gradient(folder, stage):.3g}"
    return ran(name, time.monotonic() - begun, used, outcome, together)._replace(gpu_gib=max(taken, default=0.0))


def ran(name: str, seconds: float, used: resource.struct_rusage, outcome: str, together: int = 0) -> Ran:
    """What a process used, in the table's units; `together`: bytes of it and its children at their peak."""
    peak = max(used.ru_maxrss / 2**20, together / 2**30)
    return Ran(name, seconds, used.ru_utime + used.ru_stime, peak, 0.0, outcome)


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


def environment(gpu: bool) -> Mapping[str, str]:
    """A processor alone unless `gpu`, and the project's own modules; freed blocks above 1 MiB go back to the machine.

    By itself glibc raises that bound to 32 MiB as a process goes on, and then keeps about half a GiB of each process
    that nothing is in.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    own |= {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **own, "MALLOC_MMAP_THRESHOLD_": str(2**20)}


def told(ran: Ran) -> Ran:
    """Print a line of the table as soon as it is known."""
    sizes = f"{ran.seconds:7.1f} s {ran.processor_seconds:8.1f} s CPU {ran.peak_gib:6.2f} GiB"
    sizes += f" {ran.gpu_gib:6.2f} GiB of GPU" if ran.gpu_gib else ""
    print(f"{ran.name:<22} {sizes}  {ran.outcome}", flush=True)
    return ran


def table(done: Sequence[Ran], asked: Rehearsal) -> str:
    """The stages as Markdown."""
    layers = f", {asked.layers} layers" if asked.layers else ""
    lines = [
        f"# Rehearsal of {asked.profile}, widths of {asked.size}{layers}",
        "",
        "| stage | seconds | processor seconds | peak GiB | GPU GiB | outcome |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in done:
        figures = f"{each.seconds:.0f} | {each.processor_seconds:.0f} | {each.peak_gib:.1f} | {each.gpu_gib:.1f}"
        lines.append(f"| {each.name} | {figures} | {each.outcome.replace('|', '/')} |")
    seconds, peak = sum(each.seconds for each in done), max(each.peak_gib for each in done)
    return "\n".join([*lines, "", f"{seconds / 60:.0f} minutes in all, {peak:.1f} GiB at most.", ""])


if __name__ == "__main__":
    run_stage(main)
