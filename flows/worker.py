"""`python -m flows.worker start --pool gpu --limit 1`: Prefect's worker, which outlasts a restart of its server.

Prefect 3.8 ends the worker and all its runs in two cases:

- It is offered a run whose slot it still holds ("this borrower is already holding one of this CapacityLimiter's
  tokens"). This happens after a crash, or after a restart of the database. Here, the run waits in its pool until the
  slot is free or another worker takes it.
- The server does not answer a few times in a row ("Service exceeded error threshold"). Here, the worker warns once and
  continues to ask.
"""

import runpy
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.workers.base import BaseWorker

from dcube.runtime.processes import prepare_process

Worker = BaseWorker[Any, Any, Any]
Step = Callable[[Worker], Awaitable[Any]]

SUBMIT, SUBMIT_ONE = "_submit_scheduled_flow_runs", "_submit_run"
REPEATED = ("get_and_submit_flow_runs", "_sync_and_initialize")
_submit, _submit_one = getattr(BaseWorker, SUBMIT), getattr(BaseWorker, SUBMIT_ONE)


async def submit_what_is_not_held(worker: Worker, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
    """Do Prefect's own step of a worker of any type, without the runs whose slots the worker still holds."""
    held = {*worker.limiter.statistics().borrowers} if worker._limiter else set()
    return await _submit(worker, [response for response in flow_run_response if response.flow_run.id not in held])


async def submit_if_server_answers(worker: Worker, flow_run: FlowRun) -> None:
    """Do Prefect's own step. If the server goes away before the run starts, leave the run in its pool."""
    try:
        await _submit_one(worker, flow_run)
    except httpx.HTTPError as error:
        if not is_outage(error):
            raise
        worker._logger.warning("The run %s stays in its pool: %s", flow_run.name, error)
        worker._release_limit_slot(flow_run.id)
        worker._submitting_flow_run_ids.discard(flow_run.id)


def outlasting(step: Step) -> Step:
    """Return a step that Prefect repeats, with one warning for each outage of the server instead of errors."""
    away = False

    async def step_or_warning(worker: Worker) -> Any:
        nonlocal away
        try:
            result = await step(worker)
        except httpx.HTTPError as error:
            if not is_outage(error):
                raise
            if not away:
                worker._logger.warning("The Prefect server does not answer, the worker asks again: %r", error)
            away = True
            return []
        away = False
        return result

    return step_or_warning


def is_outage(error: httpx.HTTPError) -> bool:
    """Return whether a request failed because the server is away, or not ready yet."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error
    return isinstance(error, httpx.TransportError)


def keep_worker_alive() -> None:
    """Replace Prefect's steps by the ones above in all workers of this process."""
    setattr(BaseWorker, SUBMIT, submit_what_is_not_held)
    setattr(BaseWorker, SUBMIT_ONE, submit_if_server_answers)
    for name in REPEATED:
        setattr(BaseWorker, name, outlasting(getattr(BaseWorker, name)))


if __name__ == "__main__":
    prepare_process()
    keep_worker_alive()
    sys.argv.insert(1, "worker")
    runpy.run_module("prefect", run_name="__main__")
