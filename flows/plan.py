"""DVC's graph -> the list of stages to run, in order. The only reader of the graph; no Prefect here.

`dvc.repo.reproduce` is not a public interface of DVC; it is what `dvc repro` itself plans with, which is why the flow
and `dvc repro` agree. DVC is pinned, and tests/flows/test_plan.py holds the shapes this module relies on.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from dvc.dvcfile import PROJECT_FILE
from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.repo.reproduce import get_active_graph, plan_repro


class PlanError(ValueError):
    """The graph cannot be read, or a target or a policy in it is not valid; the text is one line."""


@dataclass(frozen=True)
class Policy:
    """How the flow treats a stage: `meta.prefect` of dvc.yaml."""

    retries: int = 0
    """Further tries after a failure; only where a stage is safe to run again and may fail by chance."""
    timeout_seconds: float | None = None
    """The stage's processes are ended after this long; None means no limit."""
    slot: str | None = None
    """Name of a resource; stages of one slot run one after another."""


@dataclass(frozen=True)
class Node:
    """One stage of a plan."""

    stage: str
    """DVC's name, e.g. `sft` or `benchmark@grpo`."""
    upstream: tuple[str, ...]
    """Stages of the same plan that it needs."""
    policy: Policy
    unchanged: bool = False
    """DVC would skip it, and everything before it: no process is needed to find that out."""


def plan(targets: Sequence[str] = (), downstream: bool = False) -> list[Node]:
    """Stages that `dvc repro [--downstream] [TARGETS]` would look at, every one after its upstream.

    Args:
        targets: stage names, or names of a `foreach` stage for all its items; empty means the whole graph.
        downstream: the targets and what depends on them, instead of the targets and what they need.

    Raises:
        PlanError: no DVC project here, an invalid dvc.yaml, an unknown target or an unknown key in `meta.prefect`, or
            another DVC command is at work.
    """
    try:
        with Repo() as repo:
            known = sorted(stage.addressing for stage in repo.index.graph)
            check_targets(targets, known)
            # An edge goes from a stage to what it needs; a frozen stage has none.
            graph = get_active_graph(repo.index.graph)
            roots = [stage for target in targets or [PROJECT_FILE] for stage in repo.stage.collect(target)]
            steps = plan_repro(graph, roots, downstream=downstream)
            chosen = set(steps)
            nodes: dict[str, Node] = {}
            with lock_repo(repo):
                for step in steps:
                    upstream = tuple(sorted(up.addressing for up in graph.successors(step) if up in chosen))
                    still = all(nodes[name].unchanged for name in upstream) and not step.changed()
                    nodes[step.addressing] = Node(
                        step.addressing, upstream, policy_of(step.addressing, step.meta), still
                    )
            return list(nodes.values())
    except DvcException as error:
        raise PlanError(" ".join(str(error).split())) from error


def check_targets(targets: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a target that is neither a stage nor the name of a `foreach` stage.

    Raises:
        PlanError: with the nearest stage name, or all of them.
    """
    names = sorted({*known, *(name.partition("@")[0] for name in known)})
    for target in targets:
        if target not in names:
            near = difflib.get_close_matches(target, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"stages: {', '.join(known)}"
            raise PlanError(f"unknown stage '{target}'; {hint}")


def policy_of(stage: str, meta: dict[str, Any] | None) -> Policy:
    """Policy of a stage from its `meta`.

    Raises:
        PlanError: `meta.prefect` holds a key that is not a field of `Policy`.
    """
    settings = (meta or {}).get("prefect") or {}
    valid = [field.name for field in fields(Policy)]
    for key in settings:
        if key not in valid:
            raise PlanError(f"dvc.yaml: {stage}: meta.prefect.{key} is unknown; valid: {', '.join(valid)}")
    return Policy(**settings)
