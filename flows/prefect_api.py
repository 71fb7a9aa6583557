"""What of Prefect an upgrade can break, beyond its decorators and artifacts: its client, its loggers, its exceptions.

`docs/architecture.md` lists these places, with the version that they were checked on.
"""

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Failed
from prefect.tasks import Task

from dcube.errors import DcubeError

COMMIT = "dcube.commit"  # label of a Prefect run
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def require_server() -> str:
    """The address of the server.

    Raises:
        DcubeError: none is set, or it does not answer.
    """
    address = PREFECT_API_URL.value()
    if not address:
        raise DcubeError("no Prefect server: set PREFECT_API_URL, e.g. to http://127.0.0.1:4200/api")
    try:
        health(address)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DcubeError(
            f"the Prefect server {address} does not answer ({type(error).__name__}): start it, or correct "
            "PREFECT_API_URL"
        ) from None
    return str(address)


def health(address: str) -> httpx.Response:
    """What a server answers, an error too where it has only begun to start, or asks for a password."""
    return httpx.get(f"{address}/health", timeout=10)


# --- runs


def this_run() -> UUID:
    return UUID(str(flow_run.get_id()))


def states_of(run_id: UUID) -> list[State]:
    """All that the run has been in."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run_states(run_id)


def remembered_commit(run_id: UUID) -> str | None:
    """What an earlier attempt of the run has noted with `remember_commit`."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run_id).labels.get(COMMIT)
    return None if found is None else str(found)


def remember_commit(run_id: UUID, commit: str) -> None:
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run_id, {COMMIT: commit})


def run_of(run_id: UUID) -> FlowRun | None:
    """None where the server knows no such run."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(run_id)
        except ObjectNotFound:
            return None


def describe_run(run_id: UUID) -> str:
    """Name and state of a run.

    Raises:
        DcubeError: the server does not answer, lets nobody in without a password, or knows no such run.
    """
    address = require_server()
    try:
        run = run_of(run_id)
    except httpx.HTTPStatusError as error:
        answer = error.response.status_code
        raise DcubeError(f"the Prefect server {address} answers {answer} about the flow run {run_id}") from None
    if run is None:
        raise DcubeError(f"the Prefect server {address} does not know the flow run {run_id}")
    return f"{run.name}, {run.state_name}"


def fail_run(run_id: UUID, reason: str) -> None:
    """End a run that has not begun."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Failed(message=reason), force=True)


def has_stopped(run: FlowRun) -> bool:
    """Nothing works on it now: it has ended, or crashed."""
    return bool(run.state and run.state.is_final())


def has_ended(run: FlowRun) -> bool:
    """It has stopped for good. A crashed run has not: it is scheduled again."""
    return has_stopped(run) and not (run.state and run.state.is_crashed())


# --- deployments and automations


def start_run(deployment: str, **options: Any) -> FlowRun:
    """Start a run of the deployment without waiting for it; `options` as of `run_deployment`.

    Raises:
        DcubeError: there is no such deployment.
    """
    try:
        run: Any = run_deployment(deployment, timeout=0, as_subflow=False, **options)
    except (ObjectNotFound, ValueError):  # a name without a slash
        raise _no_deployment(deployment) from None
    return run


def start_once(deployment: str, key: str, **options: Any) -> FlowRun:
    """Start a run, or find the one that an earlier call with this key has started, unless it failed.

    Raises:
        DcubeError: there is no such deployment.
    """
    run = start_run(deployment, idempotency_key=key, **options)
    while has_ended(run) and not (run.state and run.state.is_completed()):
        run = start_run(deployment, idempotency_key=f"{key} {run.id}", **options)
    return run


def parameters_of(deployment: str) -> dict[str, Any]:
    """Raises: DcubeError: there is no such deployment."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(deployment).parameters
        except (ObjectNotFound, ValueError):
            raise _no_deployment(deployment) from None


def parameters_of_flow(deployment_id: UUID) -> set[str]:
    """Names of the parameters that the flow of this deployment takes."""
    with get_client(sync_client=True) as client:
        schema = client.read_deployment(deployment_id).parameter_openapi_schema or {}
    return set(schema.get("properties", {}))


def create_or_update(automation: Automation) -> None:
    """Create the automation, or bring the one of this name up to date."""
    try:
        found = Automation.read(name=automation.name)
    except ValueError:
        automation.create()
        return
    automation.id = found.id  # type: ignore[attr-defined]  # synchronous where no event loop runs
    automation.update()


# --- errors


def retry_if(worth_retrying: Callable[[Any, int], bool]) -> Callable[[Task[..., Any], TaskRun, State[Any]], bool]:
    """A `retry_condition_fn` from a function of a task's exception and the number of its attempts so far."""

    def condition(_: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
        return worth_retrying(state.result(raise_on_failure=False), run.run_count)

    return condition  # Prefect calls a plain function, and takes a partial one for a No


def log_errors_in_one_line() -> None:
    """A `DcubeError` that ends a task or a flow of this process is logged without its traceback."""
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], DcubeError):
        record.exc_info = None
    return True


def _no_deployment(name: str) -> DcubeError:
    mend = "`python -m flows.deploy` creates them, `prefect deployment ls` lists them"
    return DcubeError(f"no deployment {name}: {mend}")
