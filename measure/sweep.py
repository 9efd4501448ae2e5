"""`python -m measure.sweep`: the experiments of a sweep side by side, parameters that differ and final measures.

    python -m measure.sweep                                        of the last commit
    python -m measure.sweep --rev main                             of another one
    python -m measure.sweep --metrics reports/grpo/metrics.json    other measures than the report's headline

Reads what `dvc exp show` reads: experiments by `dvc exp run`, done, failed, running or queued, below the commit that
they start from. Writes reports/sweep/index.html and reports/sweep/table.md, and prints the table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

import tasks.report
from tasks import paths
from tasks.core.io.atomic import write_text
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.errors import StageError
from tasks.report.render import markdown, terminal
from tasks.report.tables import NONE, Cell, Table, percent

FOLDER = paths.REPORTS / "sweep"
HEADLINE = "reports/report"
"""Where the report keeps the headline figures of each model."""
ASK_SECONDS = 600
NOTHING_DIFFERS = "no parameter or measure differs"
CAPTION = (
    "One run each. A difference within the 95 % intervals of the report, or within what another seed changes, says "
    "nothing; `dvc exp run -S seed=1,2,3` shows the latter."
)


class Experiment(NamedTuple):
    """The commit itself, or one experiment that starts from it."""

    name: str
    state: str
    """"done", "failed", "running", "queued"; "" for the commit."""
    params: dict[str, Any]
    """`section.field` -> value; empty where the experiment failed."""
    metrics: dict[str, Any]
    """`file: field` -> value."""


def read_experiments(shown: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> list[Experiment]:
    """The commit and its experiments, in DVC's order.

    Args:
        shown: parsed output of `dvc exp show --json` for one commit.
        wanted: metrics files, or folders of them.

    Raises:
        StageError: DVC could not read the commit.
    """
    commits = [state for state in shown if state["rev"] != "workspace"]
    if len(commits) != 1:
        raise StageError(f"`dvc exp show` tells of {len(commits)} commits, one is needed")
    [commit] = commits
    if commit.get("error"):
        raise StageError(f"{commit.get('name') or commit['rev']}: {commit['error']['msg']}")
    read = [_experiment(commit, "", wanted)]
    for spread in commit.get("experiments") or []:
        state = (spread.get("executor") or {}).get("state") or "done"
        read.append(_experiment(spread["revs"][0], {"success": "done"}.get(state, state), wanted))
    return read


def _experiment(state: Mapping[str, Any], word: str, wanted: Sequence[str]) -> Experiment:
    data = state.get("data") or {}
    params = {name: value for file in (data.get("params") or {}).values() for name, value in flat(file.get("data"))}
    metrics = {
        f"{Path(path).stem if Path(path).stem != 'metrics' else Path(path).parent.name}: {name}": value
        for path, file in (data.get("metrics") or {}).items()
        if any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in wanted)
        for name, value in flat(file.get("data"))
    }
    return Experiment(state.get("name") or state["rev"][:7], word, params, metrics)


def flat(values: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """`section.field` and value of every leaf of nested mappings."""
    if not isinstance(values, Mapping):
        if above:
            yield above, values
        return
    for name, value in values.items():
        yield from flat(value, f"{above}.{name}" if above else str(name))


def sweep_table(experiments: Sequence[Experiment]) -> Table:
    """One row an experiment, the commit first; a column for each parameter and measure that is not the same in all."""
    params = differing([each.params for each in experiments])
    metrics = differing([each.metrics for each in experiments])
    rows = [
        [
            Cell(each.name),
            Cell(each.state or "commit"),
            *(Cell(_text(each.params.get(name, NONE))) for name in params),
            *(Cell(_text(each.metrics.get(name, NONE))) for name in metrics),
        ]
        for each in experiments
    ]
    caption = CAPTION if params or metrics else f"{NOTHING_DIFFERS}. {CAPTION}"
    return Table("Experiments", ["experiment", "state", *params, *metrics], rows, left=2, caption=caption)


def differing(read: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names whose values are not the same in all of those that have any, in the order of their appearance."""
    names = dict.fromkeys(name for values in read for name in values)
    told = [values for values in read if values]
    return [name for name in names if len({json.dumps(values.get(name), default=str) for values in told}) > 1]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def ask_dvc(rev: str) -> list[dict[str, Any]]:
    """What `dvc exp show --json` tells of one commit.

    Raises:
        StageError: in DVC's words.
    """
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json", "--rev", rev]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_SECONDS, env=os.environ | {"DVC_NO_ANALYTICS": "1"}
        )
    except subprocess.TimeoutExpired:
        raise StageError(f"`dvc exp show` did not end within {ASK_SECONDS} s") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")] or [
            done.stderr[-300:].strip()
        ]
        raise StageError(f"`dvc exp show`: {lines[0].removeprefix('ERROR: ')}")
    shown: list[dict[str, Any]] = json.loads(done.stdout)
    return shown


def page(title: str, subtitle: str, table: Table) -> str:
    """The table as a page that needs no network, in the report's style."""
    folders = [Path(__file__).parent, *map(Path, tasks.report.__path__)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"drawn": Markup, "percent": percent}  # what the report's macros name
    return environment.get_template("sweep.html.j2").render(title=title, subtitle=subtitle, table=table) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the experiments, write and print their table."""
    parser = OneLineParser(prog="python -m measure.sweep", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rev", default="HEAD", help="commit from which the experiments start; default the last one")
    parser.add_argument(
        "--metrics", nargs="+", default=[HEADLINE], metavar="PATH", help=f"metrics files or folders; default {HEADLINE}"
    )
    options = parser.parse_args(arguments)
    experiments = read_experiments(ask_dvc(options.rev), options.metrics)
    if len(experiments) == 1:
        raise StageError(f"{options.rev} has no experiments; make some: `dvc exp run -S grpo.beta=0.02,0.04 --queue`")
    table = sweep_table(experiments)
    count = len(experiments) - 1
    subtitle = f"{count} experiment{'' if count == 1 else 's'} from {experiments[0].name}"
    write_text(FOLDER / "index.html", page("Sweep", subtitle, table))
    write_text(FOLDER / "table.md", markdown("Sweep", subtitle, [], {"Experiments": [table]}))
    print(f"{terminal(table)}\n\npage: {FOLDER / 'index.html'}\ntable: {FOLDER / 'table.md'}")
    return 0


if __name__ == "__main__":
    run_stage(main)
