r"""`python -m measure.speed.grpo --launched`: steps of GRPO under the launcher of a profile, on random weights.

python -m measure.speed.grpo --launched --shape 3b                                 every GPU of the machine, FSDP2
python -m measure.speed.grpo --launched --shape 7b --profile video_r1_7b_ours --answer 400
python -m measure.speed.grpo --launched --shape mini --frames 4 --side 56 --answer 8                  on a processor
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from measure.speed.grpo.job import LaunchedJob
from measure.speed.grpo.launched_settings import settings_of
from measure.speed.grpo.launched_table import Process, check, last_line, memory_line, no_room, step_table
from measure.speed.grpo.table import comma_separated, markdown
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser
from tasks.core.io.errors import StageError
from tasks.core.io.given import real_number, whole_number
from tasks.core.sizing.shapes import SHAPES
from tasks.params import Grpo

FSDP = "profiles/accelerate/fsdp_4gpu.yaml"
NONE = "none"
GRACE_SECONDS = 30
WEIGHTS = {True: ", sharded by FSDP2", False: ", whole in every process", None: ""}
"""By what a process tells of its trainer, if it came so far."""
NOTE = """
{steps} steps of the pipeline's own trainer under `accelerate launch`, {launcher}, {processes} process(es) on {device}:
profile {profile}, {prompts} prompt(s) of {frames} frames of {side} x {side} pixels a process, {group} completions of
{answer} tokens each and as many under other views as the objective asks for, weights random{weights}.
Seconds and memory are those of the slowest and fullest process, tokens those of all. `scoring`: log-probabilities
without gradient, the reference model's too. `update`: forwards, backwards and clipping. `other`: views, rewards and
waiting for other processes. TFLOP and MFU are of one GPU, and count what an update cannot do without: nothing that is
recomputed.
"""


def main(arguments: Sequence[str]) -> int:
    """Start the processes, wait, and write the table; 1 where memory did not suffice."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        job = LaunchedJob(
            *(options.profile, options.shape, options.steps, options.frames, options.side, options.answer),
            *(options.group, options.prompts, options.host, folder),
        )
        params, told = settings_of(job)
        if params.grpo.lora.rank and options.config == FSDP:
            options.config = NONE
            told.append("launcher: no FSDP2, whose weights an adapter does not go with")
        for line in told:
            print(f"perf: {line}", file=sys.stderr)
        code, ending = run(command(job, options.config, options.processes), options.minutes * 60)
        measured = [json.loads(path.read_text()) for path in files(Path(folder))]
    missing = no_room(measured)
    if missing is None:
        if code or len(measured) != options.processes:
            raise StageError(
                f"the launched processes ended with {code}, {len(measured)} of {options.processes} done: {ending}"
            )
        check(measured, options.steps)
    table = step_table(measured)
    last = missing or last_line(table)
    out = Path(options.out)
    if table:
        write_text(out.with_suffix(".csv"), comma_separated(table))
    write_text(out.with_suffix(".md"), page(options, params.grpo, measured, told, last))
    print(f"{markdown(table) if table else ''}\n{memory_line(measured)}\n{last}")
    return 1 if missing else 0


def page(options: Any, settings: Grpo, measured: Sequence[Process], told: Sequence[str], last: str) -> str:
    """The table with what it was measured on, ending with its last line."""
    note = NOTE.format(
        **{name: getattr(options, name) for name in ("steps", "processes", "profile", "frames", "side", "answer")},
        launcher=options.config if options.config != NONE else "without configuration",
        device=measured[0]["device"],
        prompts=settings.prompts_per_step,
        group=settings.group,
        weights=WEIGHTS[measured[0].get("sharded")],
    )
    table = step_table(measured)
    body = [markdown(table) if table else "", note, *(f"{line}\n" for line in told), f"{memory_line(measured)}\n"]
    return f"# Steps under the launcher, shape {options.shape}\n\n{''.join(body)}\n{last}\n"


def files(folder: Path) -> list[Path]:
    """What the processes wrote, by rank."""
    return sorted(folder.glob("process-*.json"), key=lambda path: int(path.stem.partition("-")[2]))


def command(job: LaunchedJob, config: str, processes: int) -> list[str]:
    """The command line that starts all processes."""
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    if config == NONE:
        launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launch += ["--multi_gpu"] if processes > 1 else []
    else:
        launch += ["--config_file", config]
    launch += ["--num_processes", str(processes), "--main_process_port", "0"]
    return [*launch, "-m", "measure.speed.grpo.launched", json.dumps(job._asdict())]


def run(line: Sequence[str], seconds: float) -> tuple[int, str]:
    """Exit code of a command, and the end of what it told; after so many seconds it is ended."""
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(line, env=environment(), stdout=log, stderr=subprocess.STDOUT)
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.terminate()  # the launcher ends its processes
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
            child.kill()
            code = child.wait()
        log.seek(0)
        text = log.read()
    print(text, file=sys.stderr, end="")
    return code, f"\n{text[-2000:]}"


def environment() -> dict[str, str]:
    """One thread a process unless told otherwise, as torchrun has it; no network."""
    return {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **os.environ}


def _options(arguments: Sequence[str]) -> Any:
    parser = OneLineParser(prog="python -m measure.speed.grpo --launched", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="3b", choices=[name for name in SHAPES if name != "small"])
    parser.add_argument("--profile", default="video_r1_7b", help="of profiles/: objective, levers, rates, types")
    parser.add_argument("--config", default=FSDP, help="accelerate's configuration; none: plain processes")
    parser.add_argument(
        "--processes", type=whole_number(), default=None, help="default: one for each GPU; without a GPU one"
    )
    parser.add_argument("--steps", type=whole_number(), default=3)
    parser.add_argument("--frames", type=whole_number(), default=16)
    parser.add_argument("--side", type=whole_number(), default=308, help="pixels, a multiple of 28; 308 is 121 tokens")
    parser.add_argument("--answer", type=whole_number(), default=128, help="tokens of a completion; all have as many")
    parser.add_argument(
        "--group", type=whole_number(), default=None, help="completions of a prompt; default: the profile's"
    )
    parser.add_argument(
        "--prompts", type=whole_number(), default=None, help="of a step and process; default: the profile's"
    )
    parser.add_argument(
        "--host", action="store_true", help="one process: the model in main memory first, as a stage loads it"
    )
    parser.add_argument(
        "--minutes", type=real_number(above=0), default=60.0, help="the processes are ended after so long"
    )
    parser.add_argument("--out", default=None, help="path of the table, without suffix")
    options = parser.parse_args(arguments)
    if options.config != NONE and not Path(options.config).is_file():
        raise StageError(f"--config: no such accelerate configuration: {options.config}")
    if options.processes is None:
        import torch

        options.processes = max(1, torch.cuda.device_count())
    options.out = options.out or f"reports/perf/launched-{options.shape}"
    return options
