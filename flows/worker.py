"""`python -m flows.worker start --pool gpu --limit 1`: Prefect's worker, with a fix for runs that are offered again.

Prefect 3.8 ends the worker and all its runs when it is offered a run whose slot it still holds ("this borrower is
already holding one of this CapacityLimiter's tokens"). This happens after a crash, or after a restart of the database.
With the fix, the run waits in its pool until the slot is free or another worker takes it.
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
    """Do Prefect's own step of a worker of any type, without the runs whose slots the worker still holds."""
    held = {*worker.limiter.statistics().borrowers} if worker._limiter else set()
    return await _submit(worker, [response for response in flow_run_response if response.flow_run.id not in held])


def keep_worker_alive() -> None:
    """Replace Prefect's step by `submit_what_is_not_held` in all workers of this process."""
    setattr(BaseWorker, STEP, submit_what_is_not_held)


if __name__ == "__main__":
    prepare_process()
    keep_worker_alive()
    sys.argv.insert(1, "worker")
    runpy.run_module("prefect", run_name="__main__")
