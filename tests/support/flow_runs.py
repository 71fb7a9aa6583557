"""What the Prefect server knows of a run of the pipeline."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

STAGES = ["prepare", "train", "evaluate@dcube", "evaluate@control"]  # of the small pipeline


def run_of(state: State) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id)


def _still_running(runs: dict[str, TaskRun]) -> bool:
    return any(run.state is not None and run.state.is_running() for run in runs.values())


@retry(
    retry=retry_if_result(_still_running),
    wait=wait_fixed(0.2),
    stop=stop_after_delay(20),
    retry_error_callback=lambda attempt: attempt.outcome.result(),  # type: ignore[union-attr]
)
def task_runs(state: State) -> dict[str, TaskRun]:
    """Return the task runs of a finished run; the server records their states a moment later, from events."""
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [run_of(state).id]}))
    return {run.name: run for run in found}


def task_states(state: State) -> dict[str, str | None]:
    return {name: run.state_name for name, run in task_runs(state).items()}
