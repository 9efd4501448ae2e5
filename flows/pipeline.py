"""The flow `video-r1`: one task per stage of DVC's graph, siblings in parallel, Prefect's caching off.

A task's state in Prefect is the result of its stage: Ran, Restored (from DVC's cache), Unchanged, Failed or
Cancelled.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed

from flows import artifacts
from flows.outage import AWAY_SECONDS, Outage
from flows.plan import Node, Policy, plan
from flows.repro import CHILDREN, StageResult, StoppedError, repro_stage, sole_driver
from flows.states import send_missed
from tasks.core.io.lifeline import hold

RETRY_DELAY_SECONDS = 5


class RunFailedError(RuntimeError):
    """At least one stage failed; the text names each with its reason, and what was not run because of it."""


@task(task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def repro(stage: str, policy: Policy, force: bool, unchanged: bool) -> State[StageResult]:
    """One stage as one task; `unchanged` is what DVC said of it and of all before it, so that no process is needed."""
    if unchanged:
        done = StageResult(stage, "unchanged", 0.0)
    else:
        try:
            done = repro_stage(stage, policy, force, get_run_logger().info, artifacts.ProgressArtifact(stage).show)
        except StoppedError as error:
            return Cancelled(message=str(error))
    return Completed(name=done.result.capitalize(), message=f"{done.result} in {done.seconds:.1f} s", data=done)


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
        RunFailedError: a stage failed, and stages that do not depend on it were still run; or the server went away.
    """
    if os.environ.get("PREFECT__FLOW_RUN_ID"):  # a worker's process: it ends with the worker
        hold()
    CHILDREN.reopen()
    with sole_driver(), Outage(PREFECT_API_URL.value()) as outage:
        nodes = plan(targets or [], downstream)
        try:
            futures = submit(nodes, force)
            wait(list(futures.values()))
        except BaseException:  # whatever ends the flow (a signal, a cancellation) ends its children
            CHILDREN.reap()
            raise
    log = get_run_logger()
    if not outage.outlast(log.warning):
        raise RunFailedError(
            f"the Prefect server went away and did not come back within {AWAY_SECONDS:g} s; what the stages made is in "
            "DVC's cache, and the same command goes on"
        )
    if outage.noticed and (missed := send_missed(repro, UUID(flow_run.id), futures)):
        log.warning(f"states that the server missed were sent again: {', '.join(missed)}")
    return conclude(nodes, futures)


def submit(nodes: list[Node], force: bool) -> dict[str, PrefectFuture[StageResult]]:
    """Hand every stage to the task runner; each waits for its upstream."""
    futures: dict[str, PrefectFuture[StageResult]] = {}
    for node in nodes:
        configured = repro.with_options(
            retries=node.policy.retries,
            retry_delay_seconds=RETRY_DELAY_SECONDS,  # and no tags: for those Prefect asks its server at every start
        )
        upstream = [futures[name] for name in node.upstream]
        futures[node.stage] = configured.submit(  # type: ignore[assignment]  # Prefect takes the result out of a state
            node.stage, node.policy, force, node.unchanged and not force, return_state=False, wait_for=upstream
        )
    return futures


def conclude(nodes: list[Node], futures: dict[str, PrefectFuture[StageResult]]) -> list[dict[str, Any]]:
    """Publish the result of each stage; RunFailedError if one failed."""
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
        raise RunFailedError(
            f"{reasons}. Not run: {', '.join(skipped) or 'nothing else'}. With the cause mended the same command goes "
            f"on; `dvc repro {' '.join(failed)}` does too"
        )
    return rows
