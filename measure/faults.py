"""`python -m measure.faults`: `kill -9` at random moments of the smallest graph, and what the reruns make of it.

    python -m measure.faults                          20 kills, through `dvc repro` and through the flow in turn
    python -m measure.faults --kills 3 --ways dvc     three, through `dvc repro` alone

A pass runs the graph in a fresh folder, kills it at a random moment, runs it again, and so on, five times at most,
through `dvc repro` and the flow in turn: each goes on with what the other left. Then it is left to end. After each kill
nothing may live on, and no lock may stop the rerun. The end of a pass must equal an undisturbed run, output by output,
byte by byte.

Two kinds of kill take turns at random: of every process at once ("tree"), and of the command alone ("command"), whose
processes must then end by themselves. The table goes to reports/faults/table.md.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from measure.smallest.project import FLOW, REPRO, Digests, differing, environment, make_project, outputs, run
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.given import whole_number
from tasks.core.io.lifeline import GRACE, marked

COMMANDS = {"dvc": REPRO, "flow": FLOW}
KINDS = ("tree", "command")
MARK = "VIDEO_R1_FAULTS"
GRACE_SECONDS = 5
"""What a stage whose parent is gone gets to end (`lifeline`)."""
KILLS_PER_PASS = 5
EARLIEST_SECONDS = 3.0
END_SECONDS = 60.0
"""What lives longer after a kill is an orphan."""
REST_SECONDS = 3600.0
LOCK_WORDS = ("Unable to acquire lock", "is busy, it is being blocked", "another run of the flow works in", "corrupted")
TABLE = Path("reports/faults/table.md")


class Kill(NamedTuple):
    """One kill and what came of it."""

    way: str
    kind: str
    after_seconds: float
    """From the start of the command."""
    stage: str
    """Stages whose processes lived then; "" between two."""
    killed: int
    """Processes killed by -9."""
    left: tuple[str, ...]
    """Command lines of what still lived after END_SECONDS."""


class Pass(NamedTuple):
    """One run of the graph to its end, with kills on its way."""

    kills: tuple[Kill, ...]
    blocked: tuple[str, ...]
    """Lines of reruns that tell of a lock left behind."""
    differs: tuple[str, ...]
    """Outputs that are not as in the undisturbed run."""
    files: int
    """Outputs compared."""


class Command:
    """A command that runs the graph, and all processes that it started."""

    def __init__(self, folder: Path, way: str, home: Path, log: Path) -> None:
        self.mark = f"{MARK}_{uuid.uuid4().hex}"
        variables = {self.mark: "1", GRACE: str(GRACE_SECONDS), "PREFECT_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        self._log = log.open("w")
        self._seen: set[psutil.Process] = set()
        self.process = subprocess.Popen(
            COMMANDS[way],
            cwd=folder,
            env=environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ends_within(self, seconds: float) -> bool:
        """Whether the command is done before the time is over."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            return True
        return False

    def stages(self) -> str:
        """Names of the stages that run now."""
        names = set()
        for process in marked(self.mark):
            with contextlib.suppress(psutil.Error):
                names.add(process.environ().get("DVC_STAGE", ""))
        return ", ".join(sorted(names - {""}))

    def kill(self, kind: str) -> int:
        """Kill by -9: every process of the command, stopped first so that none starts another, or the command alone."""
        if kind == "command":
            self._seen |= set(marked(self.mark))
            self.process.kill()
            self.process.wait()
            return 1
        stopped: set[psutil.Process] = set()
        while new := set(marked(self.mark)) - stopped:
            _send(new, signal.SIGSTOP)
            stopped |= new
        _send(stopped, signal.SIGKILL)
        self._seen |= stopped
        self.process.wait()
        return len(stopped)

    def left(self, seconds: float) -> tuple[str, ...]:
        """Command lines of what still lives after so long; that is killed."""
        deadline = time.monotonic() + seconds
        while (living := marked(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.5)
        lines = []
        for process in living:
            with contextlib.suppress(psutil.Error):
                lines.append(" ".join(process.cmdline()))
                process.kill()
        # To DVC a process holds its locks until the system's init has reaped it.
        psutil.wait_procs(self._seen, timeout=max(0.0, deadline - time.monotonic()))
        self._log.close()
        return tuple(lines)


def _send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def disturbed(
    folder: Path, ways: Sequence[str], kills: int, whole: float, draw: random.Random, undisturbed: Digests, home: Path
) -> Pass:
    """Run the graph in a fresh folder with so many kills at most, then to its end.

    Args:
        folder: a project that has not run.
        ways: how it is run, in turn: keys of COMMANDS.
        kills: at most; fewer where the graph was done before.
        whole: seconds of an undisturbed run, from which moments are drawn.
        draw: moments and kinds.
        undisturbed: outputs of an undisturbed run.
        home: Prefect's folder.

    Raises:
        StageError: a rerun failed; with its last lines.
    """
    done: list[Kill] = []
    blocked: list[str] = []
    log = folder.with_suffix(".log")
    for way in itertools.cycle(ways):
        command = Command(folder, way, home, log)
        moment = EARLIEST_SECONDS + draw.uniform(0, 2 * whole / KILLS_PER_PASS)
        ended = command.ends_within(moment if len(done) < kills else REST_SECONDS)
        if ended:
            left, text = command.left(END_SECONDS), log.read_text(errors="replace")
            blocked += [line for line in text.splitlines() if any(word in line for word in LOCK_WORDS)]
            if command.process.returncode:
                raise StageError(f"{way}: rerun after {done[-1:]} failed in {folder}\n{text[-3000:]}")
            if left:
                raise StageError(f"{way}: a run that ended well left {left}")
            break
        kind = draw.choice(KINDS)
        stage = command.stages()
        killed = command.kill(kind)
        done.append(Kill(way, kind, moment, stage, killed, command.left(END_SECONDS)))
        print(f"{way}: kill {len(done)}, {kind}, after {moment:.1f} s in {stage or 'no stage'}", flush=True)
    files = outputs(folder)
    return Pass(tuple(done), tuple(blocked), tuple(differing(undisturbed, files)), len(files))


def passes(folder: Path, ways: Sequence[str], kills: int, seed: int) -> Iterator[Pass]:
    """Passes until there were so many kills; each in a folder of its own below `folder`.

    Raises:
        StageError: the undisturbed run or a rerun failed.
    """
    fresh = make_project(folder / "fresh")
    quiet = shutil.copytree(fresh, folder / "undisturbed", symlinks=True)
    start = time.monotonic()
    run(quiet, *REPRO)
    whole = time.monotonic() - start
    undisturbed = outputs(quiet)
    draw = random.Random(seed)
    left = kills
    for number in itertools.count(1):
        project = shutil.copytree(fresh, folder / f"pass-{number}", symlinks=True)
        most = min(left, KILLS_PER_PASS)
        done = disturbed(project, ways, most, whole, draw, undisturbed, folder / "prefect")
        yield done
        shutil.rmtree(project)
        left -= len(done.kills)
        if left <= 0:
            return


def failures(done: Pass) -> list[str]:
    """What went wrong in a pass, a line each."""
    orphans = [
        f"{kill.way}: {kill.kind} in {kill.stage}: lives on: {line}" for kill in done.kills for line in kill.left
    ]
    return [*orphans, *(f"lock: {line}" for line in done.blocked), *done.differs]


def table(all_passes: Sequence[Pass], seed: int) -> str:
    """The passes as Markdown."""
    kills = [kill for done in all_passes for kill in done.kills]
    lines = [
        "# Kills",
        "",
        f"`python -m measure.faults --kills {len(kills)} --seed {seed}`: `kill -9` of the smallest graph, of every "
        "process at once (tree) or of the command alone; the same command again until the next kill or the end.",
        "",
        "| pass | through | killed | after, s | in | processes killed | lived on |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, done in enumerate(all_passes, 1):
        lines += [
            f"| {number} | {kill.way} | {kill.kind} | {kill.after_seconds:.1f} | {kill.stage or 'between stages'} "
            f"| {kill.killed} | {len(kill.left)} |"
            for kill in done.kills
        ]
    lines += [
        "",
        "| pass | kills | locks in the way | files compared with an undisturbed run | differ |",
    ]
    lines.append("|---|---|---|---|---|")
    lines += [
        f"| {number} | {len(done.kills)} | {len(done.blocked)} | {done.files} | {len(done.differs)} |"
        for number, done in enumerate(all_passes, 1)
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, rerun, compare."""
    parser = OneLineParser(prog="python -m measure.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=whole_number(), default=20)
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the moments")
    parser.add_argument("--ways", nargs="+", choices=sorted(COMMANDS), default=sorted(COMMANDS))
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args(arguments)
    done: list[Pass] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for each in passes(Path(folder), options.ways, options.kills, options.seed):
            done.append(each)
            wrong += failures(each)
            print(
                f"pass {len(done)}: {len(each.kills)} kills, {len(each.differs)} of {each.files} files differ",
                flush=True,
            )
            write_text(options.out, table(done, options.seed))
    for line in wrong:
        print(line)
    print(f"faults: {sum(len(each.kills) for each in done)} kills, {len(wrong)} failures -> {options.out}")
    return 1 if wrong else 0


if __name__ == "__main__":
    run_stage(main)
