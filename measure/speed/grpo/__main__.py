r"""`python -m measure.speed.grpo`: a policy update and a step, lever by lever, against the plain path and TRL.

Every measurement has a process of its own, so that peak memory is its own. Results go to reports/perf/. `--quick` takes
minutes on two cores. Plain and TRL are measured at several micro-batch sizes; ratios are to the fastest. `--step` times
whole steps of params.yaml instead, with its levers as they are and with all of them off. `--launched` times steps of a
profile under its launcher, on as many GPUs as there are (options of its own: `--launched --help`).

    python -m measure.speed.grpo --quick
    python -m measure.speed.grpo --family qwen3_vl --quick
    python -m measure.speed.grpo --shape small --frames 8 16 32 64 --group 4 8 16 --whole
    python -m measure.speed.grpo --paths plain 'all levers' --micro 1 --timed-rows 1 --repeats 1 \
        --frames 8 16 32 64 --group 4 8 16                         cost curves alone, about ten minutes on two cores
    python -m measure.speed.grpo --shape 3b --dtype bfloat16 --answer 512 --whole        on a GPU
    python -m measure.speed.grpo --step
    python -m measure.speed.grpo --launched --shape 3b
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure.speed.grpo import launch
from measure.speed.grpo.job import CACHED, Job
from measure.speed.grpo.table import (
    Measured,
    comma_separated,
    cost_curves,
    markdown,
    rows,
    step_rows,
    step_verdict,
    verdict,
)
from tasks import paths
from tasks.core.backbones import backbone_of
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_stage, run_tool
from tasks.core.io.given import whole_number
from tasks.params import ParamsError
from tasks.profile import ProfileError

FAMILY = "qwen2_5_vl"
LAUNCHED = "--launched"
PATHS = ("plain", "encode once", "share prefix", "varlen attention", "all levers", "cached features", "TRL")
TOKENS_ON_A_SIDE = 11

NOTE = """
Seconds are {clock} time on {threads} threads of {device}: the fastest of {repeats} passes after a warm one, over a
group of G answers of {answer} tokens. Plain and TRL are timed on at least {timed} rows and scaled to G; `faster` and
`memory` compare with plain at its fastest micro-batch. Peak memory is what the update takes above weights and
gradients. `of floor`: operations counted, over those of one prompt pass, one vision pass and an output layer for answer
tokens alone. `cached features` has all levers and a frozen encoder, whose features are kept from an earlier step.
"""

OTHER_FAMILY = """
Operations are counted by the formulas for Qwen2.5-VL (windowed attention and a gated MLP in the encoder), so that TFLOP
and `of floor` compare paths with each other and say nothing of the device.
"""

STEP_NOTE = """
Seconds are {clock} time on {threads} threads: the mean of {steps} steps after a warm one, from decoding to the
optimizer, on clips of the mini world and from {model}. `plain` has every lever off.
"""


def main() -> int:
    """Measure in child processes, then write table and verdict."""
    if LAUNCHED in sys.argv[1:]:
        return launch.main([word for word in sys.argv[1:] if word != LAUNCHED])
    options = _options()
    if options.job:
        return _child(options.job)
    if options.step:
        return _steps(options)
    measured = []
    for name, job in (made for made in jobs(options) if made[0] in options.paths):
        print(f"perf: {name}, {job['frames']} frames, G {job['group']}, micro-batch {job['micro']}", file=sys.stderr)
        measured.append(Measured(name, _job(job), _run(job, options.threads)))
    table = rows(measured, options.clock)
    last = verdict(measured, options.clock)
    note = NOTE.format(
        clock=options.clock,
        threads=options.threads,
        device=options.device,
        repeats=options.repeats,
        answer=options.answer,
        timed=options.timed_rows,
    )
    if options.family != FAMILY:
        note += OTHER_FAMILY
    out = Path(options.out)
    write_text(out.with_suffix(".csv"), comma_separated(table))
    curves = cost_curves(measured, options.clock)
    title = f"# Policy update, {options.family}, shape {options.shape}"
    write_text(out.with_suffix(".md"), f"{title}\n\n{markdown(table)}{note}\n{curves}{last}\n")
    print(f"{markdown(table)}\n{curves}{last}")
    return 0


def _steps(options: argparse.Namespace) -> int:
    """Measure whole steps with and without levers."""
    times = {}
    for name, on in (("plain", False), ("all levers", True)):
        print(f"perf: {options.steps} steps, {name}", file=sys.stderr)
        times[name] = _run({"model": options.model, "on": on, "steps": options.steps}, options.threads)
    table, last = step_rows(times), step_verdict(times, options.clock)
    note = STEP_NOTE.format(clock=options.clock, threads=options.threads, steps=options.steps, model=options.model)
    write_text(Path("reports/perf/step.md"), f"# Step of params.yaml\n\n{markdown(table)}{note}\n{last}\n")
    print(f"{markdown(table)}\n{last}")
    return 0


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every measurement by name; the levers come on one after the other."""
    every = ("encode_once", "share_prefix", "drop_ended", "share_prefix_update", "varlen_attention")
    for frames in options.frames:
        for group in options.group:
            shared = {"frames": frames, "group": group, **_common(options)}

            def job(path: str, levers: tuple[str, ...], micro: int, shared: dict[str, Any] = shared) -> dict[str, Any]:
                once = "share_prefix_update" in levers
                timed = shared["group"] if once else max(micro, options.timed_rows)
                return {**shared, "path": path, "levers": levers, "micro": micro, "timed_rows": timed}

            sizes = [micro for micro in options.micro if micro <= group]
            yield from (("plain", job("ours", (), micro)) for micro in sizes)
            if not options.quick:
                yield from (("encode once", job("ours", every[:1], micro)) for micro in sizes)
            yield "share prefix", job("ours", every[:4], group)
            if options.device != "cpu":  # there is no such kernel for CPUs
                yield "varlen attention", job("ours", every, group)
            full = (*every, "selective_checkpointing")
            yield "all levers", job("ours", full, group)
            if not options.quick:
                yield "cached features", job("ours", (*full, CACHED), group)
            yield from (("TRL", job("trl", (), micro)) for micro in options.micro_trl if micro <= group)


def _common(options: argparse.Namespace) -> dict[str, Any]:
    names = ("family", "shape", "side", "shuffled", "answer", "repeats", "whole", "dtype", "device")
    return {name: getattr(options, name) for name in names}


def side_factor(family: str) -> int:
    """Pixels on a side of what becomes one token; of a family whose frames have one size, that of `FAMILY`."""
    return 2 * getattr(backbone_of(family), "patch_side", 14)


def _run(job: dict[str, Any], threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "measure.speed.grpo", "--job", json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _child(text: str) -> int:
    values = json.loads(text)
    if "steps" in values:
        from measure.speed.grpo.step import measure_steps
        from tasks.params import load

        numbers = measure_steps(load(), Path(values["model"]), values["on"], values["steps"])
    else:
        from measure.speed.grpo.work import measure

        numbers = measure(_job(values))
    print(json.dumps(numbers))
    return 0


def _job(values: dict[str, Any]) -> Job:
    return Job(**{**values, "levers": tuple(values["levers"])})


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="python -m measure.speed.grpo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two micro-batch sizes, no single levers, one pass")
    parser.add_argument(
        "--paths", nargs="+", default=PATHS, choices=PATHS, help="what to measure; ratios need plain and all levers"
    )
    parser.add_argument(
        "--family",
        default=FAMILY,
        help="model_type; but for qwen2_5_vl and qwen3_vl only widths and depths are the shape's",
    )
    parser.add_argument("--shape", default="small", choices=("mini", "small", "3b", "7b"))
    parser.add_argument("--frames", type=whole_number(), nargs="+", default=[16])
    parser.add_argument(
        "--side", type=whole_number(), default=None, help="pixels, a multiple of 28 or 32; default: 121 tokens"
    )
    parser.add_argument("--group", type=whole_number(), nargs="+", default=[8])
    parser.add_argument(
        "--shuffled", type=whole_number(0), default=4, help="answers on shuffled frames, of the rollouts alone"
    )
    parser.add_argument("--answer", type=whole_number(), default=64, help="tokens of an answer")
    parser.add_argument(
        "--micro", type=whole_number(), nargs="+", default=[1, 2, 4, 8], help="micro-batch sizes of plain"
    )
    parser.add_argument(
        "--micro-trl",
        type=whole_number(),
        nargs="*",
        default=[1, 2, 4],
        help="micro-batch sizes of TRL; none: leave it out",
    )
    parser.add_argument(
        "--timed-rows", type=whole_number(), default=8, help="rows of plain and TRL that are timed, then scaled"
    )
    parser.add_argument("--repeats", type=whole_number(), default=2)
    parser.add_argument("--whole", action="store_true", help="decode, rollout and optimizer too")
    parser.add_argument("--step", action="store_true", help="whole steps of params.yaml, levers as they are and off")
    parser.add_argument("--steps", type=whole_number(), default=4, help="steps that count, with --step")
    parser.add_argument(LAUNCHED, action="store_true", help="steps of a profile under its launcher; see its --help")
    parser.add_argument("--model", default=str(paths.SFT_MODEL), help="where the policy starts, with --step")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--device", default=None, choices=("cpu", "cuda"))
    parser.add_argument("--clock", default="wall", choices=("wall", "processor"), help="processor: on a busy machine")
    parser.add_argument("--threads", type=whole_number(), default=os.cpu_count() or 1)
    parser.add_argument("--out", default=None, help="path of the table, without suffix")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser


def _options() -> argparse.Namespace:
    """What is asked, with what depends on another choice or on the machine filled in."""
    parser = _parser()
    options = parser.parse_args()
    if missing := {"plain", "all levers"} - set(options.paths):
        parser.error(f"--paths: ratios need {' and '.join(sorted(missing))} too")
    if options.quick:
        options.micro, options.micro_trl, options.timed_rows, options.repeats = [1, 2], [1], 2, 1
        options.frames, options.group = options.frames[:1], options.group[:1]
    if options.side is None and not options.job:
        options.side = TOKENS_ON_A_SIDE * side_factor(options.family)
    if options.device is None and not options.job:
        import torch

        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    other = "" if options.family == FAMILY else f"{options.family}-"
    options.out = options.out or f"reports/perf/{other}{options.shape}{'-quick' if options.quick else ''}"
    return options


if __name__ == "__main__":
    if LAUNCHED in sys.argv[1:]:  # the launcher and its processes end with this one
        run_stage(main, ParamsError, ProfileError)
    run_tool(main)
