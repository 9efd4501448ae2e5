"""The flow `video-r1`: one task per stage of DVC's graph, siblings in parallel, Prefect's caching off.

    python -m flows.video_r1                                  the whole graph, without a server
    python -m flows.video_r1 --targets sft                    a stage and what it needs
    python -m flows.video_r1 --targets sft --downstream       a stage and what depends on it
    python -m flows.video_r1 --targets filter --force         even if nothing changed

Parameters choose what runs, never how: hyper-parameters live in params.yaml, for DVC to see.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait

from flows import artifacts
from flows.plan import Node, PlanError, Policy, plan
from flows.repro import CHILDREN, ReproError, StageResult, WorkspaceBusyError, repro_stage, sole_driver

RETRY_DELAY_SECONDS = 5


class RunFailedError(RuntimeError):
    """At least one stage failed; the text names each with its reason, and what was not run because of it."""


@task(task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def repro(stage: str, policy: Policy, force: bool) -> StageResult:
    """One stage as one task."""
    return repro_stage(stage, policy, force, get_run_logger().info)


@flow(name="video-r1", persist_result=False)
def video_r1(targets: list[str] | None = None, downstream: bool = False, force: bool = False) -> list[dict[str, Any]]:
    """Bring the targets up to date, as `dvc repro` would.

    Args:
        targets: stage names; empty means the whole graph.
        downstream: the targets and what depends on them.
        force: run the planned stages even if nothing changed (a frozen stage never runs).

    Returns:
        One row per stage: stage, result, seconds.

    Raises:
        PlanError: unknown target.
        WorkspaceBusyError: another run works in this folder.
        RunFailedError: a stage failed; stages that do not depend on it were still run.
    """
    nodes = plan(targets or [], downstream)
    CHILDREN.reopen()
    with sole_driver():
        try:
            futures = submit(nodes, force)
            wait(list(futures.values()))
        except BaseException:  # whatever ends the flow (a signal, a cancellation) ends its children
            CHILDREN.reap()
            raise
    return conclude(nodes, futures)


def submit(nodes: list[Node], force: bool) -> dict[str, PrefectFuture[StageResult]]:
    """Hand every stage to the task runner; each waits for its upstream."""
    futures: dict[str, PrefectFuture[StageResult]] = {}
    for node in nodes:
        configured = repro.with_options(
            retries=node.policy.retries,
            retry_delay_seconds=RETRY_DELAY_SECONDS,
            tags=[f"slot:{node.policy.slot}"] if node.policy.slot else None,
        )
        upstream = [futures[name] for name in node.upstream]
        futures[node.stage] = configured.submit(node.stage, node.policy, force, return_state=False, wait_for=upstream)
    return futures


def conclude(nodes: list[Node], futures: dict[str, PrefectFuture[StageResult]]) -> list[dict[str, Any]]:
    """Publish what became of each stage; RunFailedError if one failed."""
    done: list[StageResult] = []
    failed: dict[str, str] = {}
    skipped: list[str] = []
    for node in nodes:
        state = futures[node.stage].state
        if state.is_completed():
            done.append(futures[node.stage].result())
        elif state.is_pending():  # its upstream failed
            skipped.append(node.stage)
        else:
            failed[node.stage] = state.message or state.type.value
    rows = artifacts.stage_rows(done, failed, skipped)
    artifacts.publish(rows, Path("reports"))
    if failed:
        reasons = "; ".join(f"{stage}: {reason}" for stage, reason in failed.items())
        raise RunFailedError(f"{reasons}. Not run: {', '.join(skipped) or 'nothing else'}")
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Run the flow in this process; 0 when every stage is up to date."""
    parser = argparse.ArgumentParser(prog="python -m flows.video_r1", description="Bring the pipeline up to date.")
    parser.add_argument(
        "--targets", nargs="+", default=[], metavar="STAGE", help="stages to bring up to date; default all"
    )
    parser.add_argument("--downstream", action="store_true", help="the targets and what depends on them")
    parser.add_argument("--force", action="store_true", help="run even if nothing changed")
    options = parser.parse_args(arguments)
    if options.downstream and not options.targets:
        parser.error("--downstream needs --targets")
    signal.signal(signal.SIGTERM, stop)
    try:
        plan(options.targets, options.downstream)  # a wrong name is told before a server starts
        if not os.environ.get("PREFECT_API_URL"):
            print("No PREFECT_API_URL: this run uses a temporary server and will not show in a Prefect UI.", flush=True)
        rows = video_r1(options.targets, options.downstream, options.force)
    except (PlanError, WorkspaceBusyError, RunFailedError, ReproError) as error:
        print(f"video-r1: {error}", file=sys.stderr)
        return 1
    for row in rows:
        print(f"{row['stage']:<24} {row['result']:<10} {row['seconds']:>8} s")
    return 0


def stop(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that the flow ends its children before it goes."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
