"""`python -m flows.worker start --pool gpu --limit 1`: Prefect's worker, made to survive a run that comes back early.

Prefect 3.8 ends the worker where a run is offered to it whose slot it still holds ("this borrower is already holding
one of this CapacityLimiter's tokens"), and with it all runs of that worker: after a crash, after a restart of the
database. Here such a run waits in its pool until the slot is free, or for another worker.
"""

import runpy
import sys
from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.workers.base import BaseWorker

from dcube.runtime.processes import prepare_process

STEP = "_submit_scheduled_flow_runs"
_submit = getattr(BaseWorker, STEP)


async def submit_what_is_not_held(
    worker: BaseWorker[Any, Any, Any], flow_run_response: list[WorkerFlowRunResponse]
) -> list[FlowRun]:
    """Prefect's own step of a worker, of any type, without the runs whose slots it holds."""
    held = {*worker.limiter.statistics().borrowers} if worker._limiter else set()
    return await _submit(worker, [response for response in flow_run_response if response.flow_run.id not in held])


def keep_worker_alive() -> None:
    """Replace that step in all workers of this process."""
    setattr(BaseWorker, STEP, submit_what_is_not_held)


if __name__ == "__main__":
    prepare_process()
    keep_worker_alive()
    sys.argv.insert(1, "worker")
    runpy.run_module("prefect", run_name="__main__")
