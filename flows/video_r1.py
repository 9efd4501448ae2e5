"""`python -m flows.video_r1`: the flow in this process, with or without a Prefect server.

    python -m flows.video_r1                                  the whole graph
    python -m flows.video_r1 --targets sft                    a stage and what it needs
    python -m flows.video_r1 --targets sft --downstream       a stage and what depends on it
    python -m flows.video_r1 --targets filter --force         even if nothing changed

Parameters choose what runs, never how: hyper-parameters live in params.yaml, for DVC to see. Prefect is imported when
there is something to run: without a server a run of nothing needs none.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

import flows  # noqa: F401  (environment defaults)
from flows.plan import Node, PlanError, plan
from flows.preflight import PreflightError, check_api, check_home
from flows.repro import ReproError, StageResult, WorkspaceBusyError, slot_size, sole_driver
from tasks.core.io.cli import USAGE_EXIT, OneLineParser
from tasks.core.io.errors import StageError
from tasks.core.io.lifeline import hold

PREFECT_MODULES = ("prefect", "httpx", "httpcore")
"""Whose errors mean that the server does not answer as it should."""


def main(arguments: list[str] | None = None) -> int:
    """Run the flow in this process; 0 when every stage is up to date."""
    parser = OneLineParser(prog="python -m flows.video_r1", description="Bring the pipeline up to date.")
    parser.add_argument(
        "--targets", nargs="+", default=[], metavar="STAGE", help="stages to bring up to date; default all"
    )
    parser.add_argument("--downstream", action="store_true", help="the targets and what depends on them")
    parser.add_argument("--force", action="store_true", help="run even if nothing changed")
    try:
        options = parser.parse_args(arguments)
        if options.downstream and not options.targets:
            parser.error("--downstream needs --targets")
    except StageError as error:
        print(f"video-r1: {error}", file=sys.stderr)
        return USAGE_EXIT
    signal.signal(signal.SIGTERM, stop)
    try:
        hold()
        rows = run(options.targets, options.downstream, options.force)
    except (StageError, PlanError, WorkspaceBusyError, ReproError, PreflightError) as error:
        print(f"video-r1: {error}", file=sys.stderr)
        return 1
    for row in rows:
        print(f"{row['stage']:<24} {row['result']:<10} {row['seconds']:>8} s")
    return 0


def run(targets: list[str], downstream: bool, force: bool) -> list[dict[str, Any]]:
    """One row per stage: stage, result, seconds.

    Raises:
        PlanError: unknown target.
        WorkspaceBusyError: another run works in this folder.
        PreflightError: Prefect cannot work here, or its server went away.
        ReproError: a stage failed.
        StageError: VIDEO_R1_SLOT_SIZE is no whole number.
    """
    slot_size()
    check_home()
    with sole_driver():
        nodes = plan(targets, downstream)  # a wrong name is told before a server starts
    if api := os.environ.get("PREFECT_API_URL"):
        check_api(api)
    elif not force and all(node.unchanged for node in nodes):
        return [row_of(node) for node in nodes]
    else:
        print("No PREFECT_API_URL: this run uses a temporary server and will not show in a Prefect UI.", flush=True)

    from flows.pipeline import RunFailedError, video_r1

    try:
        return video_r1(targets, downstream, force)
    except RunFailedError as error:
        raise ReproError(str(error)) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in PREFECT_MODULES:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PreflightError(f"Prefect's server went away: {reason}; the same command goes on") from error


def row_of(node: Node) -> dict[str, Any]:
    """Row of a stage that needs nothing."""
    done = StageResult(node.stage, "unchanged", 0.0)
    return {"stage": done.stage, "result": done.result, "seconds": done.seconds}


def stop(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that the flow ends its children before it goes."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
