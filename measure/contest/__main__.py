"""Which temporal objective should a user take at equal operations? `python -m measure.contest`.

    starts      start models whose shortcut arose by itself, made and scored: reports/contest/starts.csv
    tune        every method's values, on validation splits of the tuning starts, with one number of trials
    run         every start, method and seed; a row of reports/contest/runs.csv as each run ends, then the table

A run trains on a biased RL split until its budget of operations is used, and is tested on counterfactual quadruples and
an unbiased mixed split. Operations are counted from the calls that it makes (`flops.py`). Stopped and started again,
the command goes on; several of one thread share the runs. All methods run from a start on a seed before the next start
is taken, and all starts before the next seed: whatever has ended compares methods on the same starts and seeds. What is
measured, and how it is judged, was fixed in reports/contest/protocol.md before the first run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure.contest.methods import METHOD_OF, METHODS, TRIALS, Counts, Trial, best_of, read_chosen
from measure.contest.protocols import PROTOCOLS, Protocol, command, named, ready, wanted
from measure.contest.start_scores import START_MEASURES, score_start
from measure.contest.starts import Start, make
from measure.contest.table import CURVE_FIELDS, FIELDS, KEY, markdown
from measure.contest.training import TEST_SEED, VALIDATION_SEED, WHOLE, Size, on_quadruples, run
from measure.runs import append, lock, read_runs, rounded
from tasks.core.io.atomic import write_json, write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError
from tasks.core.io.given import real_number, whole_number
from tasks.core.models.load import ModelError
from tasks.params import Params, ParamsError, load

TUNING_KEY = ("start", "method", "trial")
TUNING_FIELDS = (
    *TUNING_KEY,
    *("learning_rate", "strength", "steps", "flops", "seconds"),
    *("pair_accuracy", "mirror_accuracy", "invariance", "forward_accuracy", "static_on_moving"),
    *("pair_accuracy_before", "static_on_moving_before"),
)
"""Columns of tuning.csv."""
TUNED_SHARE = 0.5
"""Operations of a run of tuning, as a share of the contest's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune, or run what is missing and write the table."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parse(given)
    protocol = PROTOCOLS[chosen.protocol]
    chosen.methods, chosen.out = chosen.methods or list(protocol.methods), chosen.out or protocol.folder
    chosen.seeds = chosen.seeds or protocol.seeds
    helpers = [_helper(given) for _ in range(chosen.processes - 1)]
    size = Size(**{name: getattr(chosen, name) for name in Size._fields})
    until = time.monotonic() + 60 * chosen.minutes
    if chosen.command == "starts":
        make_starts(load(), size, protocol, chosen.starts, chosen.out, until)
    elif chosen.command == "tune":
        tune(load(), size, protocol, chosen.methods, chosen.out, until)
    else:
        contest(load(), size, protocol, chosen, until)
    if any(helper.wait() for helper in helpers):
        raise StageError("a process beside this one failed; its error is above")
    if chosen.command == "run":
        write_table(chosen.out, protocol)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line."""
    parser = OneLineParser(prog="python -m measure.contest", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", nargs="?", choices=("run", "tune", "starts"), default="run")
    parser.add_argument("--protocol", choices=list(PROTOCOLS), default="wide")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), help="the protocol's if left out")
    parser.add_argument(
        "--starts", nargs="+", default=None, metavar="NAME", help="the protocol's that are made if left out"
    )
    parser.add_argument(
        "--seeds", type=whole_number(), help="of a start, the protocol's if left out; who does not lead takes half"
    )
    parser.add_argument(
        "--minutes", type=real_number(least=0), default=float("inf"), help="after so many, no further run begins"
    )
    parser.add_argument("--processes", type=whole_number(), default=1, help="of one thread each, that share the runs")
    parser.add_argument("--out", type=Path, help="the protocol's folder if left out")
    for name, value in WHOLE._asdict().items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=whole_number() if isinstance(value, int) else real_number(least=0),
            default=value,
        )
    return parser.parse_args(arguments)


def _helper(given: Sequence[str]) -> subprocess.Popen[bytes]:
    """The same command in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "measure.contest", *given, "--processes", "1"])


def make_starts(
    params: Params, size: Size, protocol: Protocol, names: Sequence[str] | None, out: Path, until: float
) -> None:
    """Make starts that are missing, score those without a row, until as many qualify as the protocol judges."""
    for start in named(protocol, names):
        if time.monotonic() > until:
            return
        if names is None and not wanted(protocol, start, read_runs(out / "starts.csv")):
            continue
        with lock(out / ".locks" / f"start-{start.name}") as ours:
            if ours:
                make(start, params)
            if ours and not any(row["start"] == start.name for row in read_runs(out / "starts.csv")):
                row = {"start": start.name, **start._asdict(), **score_start(start, size, params)}
                append(out / "starts.csv", ("start", *Start._fields, *START_MEASURES), [rounded(row)], ("start",))
                print(f"start: {start.name}: pairs {row['pair_accuracy']:.3f}", flush=True)


def tune(params: Params, size: Size, protocol: Protocol, methods: Sequence[str], out: Path, until: float) -> None:
    """Choose each method's values by validation quadruples, in the mean over the protocol's tuning starts.

    Raises:
        StageError: the protocol takes another one's values.
    """
    if protocol.chosen is not None:
        raise StageError(f"{protocol.name} takes the values in {protocol.chosen}")
    rows = out / "tuning.csv"
    size = size._replace(budget=TUNED_SHARE * size.budget, every=size.most_steps)
    for number, trial in enumerate(TRIALS):
        for method in (method for method in methods if method not in METHOD_OF):
            for start in protocol.tuning:
                if time.monotonic() > until:
                    break
                with lock(out / ".locks" / f"tune-{method}-{number}-{start.name}") as ours:
                    if ours and not _has(rows, TUNING_KEY, start.name, method, number):
                        row, _ = run(params, size, start, method, 0, trial, VALIDATION_SEED, on_quadruples)
                        append(rows, TUNING_FIELDS, [_only(TUNING_FIELDS, row) | {"trial": number}], TUNING_KEY)
                        print(f"tune: {method} {trial}: pairs {row['pair_accuracy']:.3f}", flush=True)
    write_json(out / "chosen.json", best_of(read_runs(rows), len(TRIALS), len(protocol.tuning), protocol.allowed_loss))


def contest(params: Params, size: Size, protocol: Protocol, chosen: argparse.Namespace, until: float) -> None:
    """Every run that is missing and that no other command has in hand."""
    trials = read_chosen(protocol.chosen or chosen.out / "chosen.json", chosen.methods, command(protocol, "tune"))
    starts = ready(protocol, chosen.starts, read_runs(chosen.out / "starts.csv"))
    for seed, start, method in order(starts, chosen.methods, chosen.seeds, protocol.counts):
        if time.monotonic() > until:
            return
        _once(params, size, chosen.out, start, method, protocol.first_seed + seed, trials[method], protocol)


def write_table(out: Path, protocol: Protocol) -> None:
    """table.md of the rows in runs.csv."""
    write_text(out / "table.md", markdown(read_runs(out / "runs.csv"), list(protocol.methods), protocol.counts))


def order(made: Sequence[Start], methods: Sequence[str], seeds: int, counts: Counts) -> list[tuple[int, Start, str]]:
    """Runs as they are taken: all methods on a start and seed, the next start, and then the next seed."""
    return [
        (seed, start, method)
        for seed in range(seeds)
        for start in made
        for method in methods
        if seed < counts.seeds(method, seeds)
    ]


def _once(
    params: Params, size: Size, out: Path, start: Start, method: str, seed: int, trial: Trial, protocol: Protocol
) -> None:
    name = f"{start.name}-{method}-{seed}"
    with lock(out / ".locks" / name) as ours:
        if not ours or _has(out / "runs.csv", KEY, start.name, method, seed):
            return
        row, points = run(params, size, start, method, seed, trial, TEST_SEED)
        append(out / "curves.csv", CURVE_FIELDS, points, KEY)
        append(out / "runs.csv", FIELDS, [row], KEY)
    write_table(out, protocol)
    print(f"contest: {name}: pairs {row['pair_accuracy']:.3f} (before {row['pair_accuracy_before']:.3f})", flush=True)


def _only(names: Sequence[str], row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in names}


def _has(rows: Path, key: Sequence[str], *values: object) -> bool:
    return any(tuple(row[name] for name in key) == tuple(map(str, values)) for row in read_runs(rows))


if __name__ == "__main__":
    run_stage(main, ParamsError, ModelError, json.JSONDecodeError)
