"""The stages in the order of dvc.yaml, each with the command that it gets and what it will do."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tasks.launch import command
from tasks.machines import Rendezvous
from tasks.params import Start

GRAPH, LOCK = Path("dvc.yaml"), Path("dvc.lock")
PLACEHOLDER = re.compile(r"\$\{([\w.]+)\}")
NOT_NEEDED = {
    "cot": {"annotate": "asks nobody: takes the reasoning of {path}"},
    "sft": {
        "annotate": "skipped",
        "validate@cot": "skipped",
        "filter": "skipped",
        "validate@sft": "skipped",
        "sft": "takes {path}, trains nothing",
    },
}
"""What `start.at` leaves of a stage."""


class Stage(NamedTuple):
    """One stage of the run."""

    name: str
    command: str
    state: str
    """What it will do, in words."""

    @property
    def runs(self) -> bool:
        """Whether it computes what it is there for."""
        return self.state.startswith("runs")


class Node(NamedTuple):
    """A stage of dvc.yaml, those of a `foreach` one by one."""

    name: str
    text: Mapping[str, Any]
    item: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]


def stages(
    graph: Mapping[str, Any],
    lock: Mapping[str, Any],
    values: Mapping[str, Any],
    start: Start,
    launch: str,
    meeting: Rendezvous | None = None,
) -> Iterator[Stage]:
    """Every stage in an order in which DVC may run them.

    Args:
        graph: dvc.yaml.
        lock: dvc.lock; empty where nothing has run.
        values: params.yaml.
        start: its section.
        launch: VIDEO_R1_LAUNCH.
        meeting: by VIDEO_R1_MACHINE.
    """
    known = [name.partition("@")[0] for name in graph["stages"]]
    for node in in_order(list(_nodes(graph, values))):
        line = node.text["cmd"].replace("${key}", node.item)
        yield Stage(
            node.name, _launched(line, launch, known, meeting), _state(node.name, node.text, lock, values, start)
        )


def in_order(nodes: list[Node]) -> Iterator[Node]:
    """Each behind those whose outputs it reads; otherwise as they stand."""
    left = list(nodes)
    while left:
        made = [path for node in left for path in node.outs]
        ready = next(
            (node for node in left if not any(_within(dep, path) for dep in node.deps for path in made)), left[0]
        )
        left.remove(ready)
        yield ready


def _within(dep: str, out: str) -> bool:
    return Path(dep).is_relative_to(out) or Path(out).is_relative_to(dep)


def _nodes(graph: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Node]:
    for name, stage in graph["stages"].items():
        items: Mapping[str, Any] = {"": None}
        text = stage
        if "foreach" in stage:
            each, text = stage["foreach"], stage["do"]
            items = values[each.removeprefix("${").removesuffix("}")] if isinstance(each, str) else each
        for key, item in items.items():

            def filled(path: str, key: str = key, item: object = item) -> str:
                path = path.replace("${key}", key).replace("${item}", str(item))
                return PLACEHOLDER.sub(lambda match: str(_at(values, match[1])), path)

            deps = tuple(filled(each) for each in text.get("deps", []))
            outs = [next(iter(each)) if isinstance(each, dict) else each for each in _outs(text)]
            yield Node(f"{name}@{key}" if key else name, text, key, deps, tuple(filled(each) for each in outs))


def _outs(text: Mapping[str, Any]) -> Iterator[Any]:
    return chain.from_iterable(text.get(kind, []) for kind in ("outs", "metrics", "plots"))


def _launched(line: str, launch: str, known: Sequence[str], meeting: Rendezvous | None) -> str:
    """What `python -m tasks.launch STAGE` becomes."""
    words = shlex.split(line)
    if words[:3] != ["python", "-m", "tasks.launch"]:
        return line
    python, *rest = command(words[3], words[4:], launch, known, meeting)
    return shlex.join(["python" if python == sys.executable else python, *rest])


def _state(
    name: str, stage: Mapping[str, Any], lock: Mapping[str, Any], values: Mapping[str, Any], start: Start
) -> str:
    if stage.get("frozen"):
        return "frozen: does not run"
    if name in NOT_NEEDED.get(start.at, {}):
        return NOT_NEEDED[start.at][name].format(path=start.path)
    stage_name, _, model = name.partition("@")
    if stage_name == "benchmark" and (chosen := _at(values, "benchmark.models")) and model not in chosen:
        return "skipped, benchmark.models leaves it out"
    locked = (lock.get("stages") or {}).get(name)
    if locked is None:
        return "runs, not in dvc.lock"
    before = (locked.get("params") or {}).get("params.yaml") or {}
    changed = sorted(key for key, value in before.items() if _at(values, key) != value)
    if changed:
        return f"runs, changed are {', '.join(changed)}"
    return "runs if its files changed"


def _at(values: Any, place: str) -> Any:
    """The value at a dotted place."""
    for key in place.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
