"""Task states that a Prefect server missed while it was away, sent again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture

PAGE = 200
"""Task runs that a server gives at once."""


def send_missed(task: Task[..., Any], flow_run: UUID, futures: Mapping[str, PrefectFuture[Any]]) -> list[str]:
    """Send the last state of every task of a run that ended otherwise than the server knows.

    Args:
        task: of which the runs are.
        flow_run: id of the flow run.
        futures: name -> a run of the task, that is over or will never begin.

    Returns:
        Names of those that were sent.
    """
    sent = []
    with get_client(sync_client=True) as client:
        known: dict[UUID, State[Any] | None] = {}
        ours = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
        while page := client.read_task_runs(flow_run_filter=ours, limit=PAGE, offset=len(known)):
            known |= {run.id: run.state for run in page}
        for name, future in futures.items():
            ended: State[Any] = future.state
            if not ended.is_final():
                continue
            last: State[Any] = State(type=ended.type, name=ended.name, message=ended.message, timestamp=ended.timestamp)
            run = future.task_run_id
            if run not in known:  # the server was away when it began, too
                client.create_task_run(task, flow_run, dynamic_key=str(run), id=run, name=name, state=last)
            elif (told := known[run]) is None or told.type != last.type:
                client.set_task_run_state(run, last, force=True)
            else:
                continue
            sent.append(name)
    return sent
