"""Uses of Prefect that an upgrade can break, beyond decorators and artifacts: its client, loggers and exceptions.

`docs/architecture.md` lists these uses and the version of Prefect with which they were checked.
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

from dcube.errors import DcubeError, owner_problem

COMMIT = "dcube.commit"  # label of a Prefect run
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def require_server() -> str:
    """Return the address of the server.

    Raises:
        DcubeError: if no server is configured, or if it does not answer.
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
    """Return the server's response, which may be an error status while it starts or if it requires a password."""
    return httpx.get(f"{address}/health", timeout=10)


# --- runs


def this_run() -> UUID:
    return UUID(str(flow_run.get_id()))


def states_of(run_id: UUID) -> list[State]:
    """Return all present and earlier states of the run."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run_states(run_id)


def remembered_commit(run_id: UUID) -> str | None:
    """Return the commit that an earlier attempt of the run saved with `remember_commit`, or None."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run_id).labels.get(COMMIT)
    return None if found is None else str(found)


def remember_commit(run_id: UUID, commit: str) -> None:
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run_id, {COMMIT: commit})


def run_of(run_id: UUID) -> FlowRun | None:
    """Return the run, or None if the server does not have it."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(run_id)
        except ObjectNotFound:
            return None


def describe_run(run_id: UUID) -> str:
    """Return name and state of a run as text.

    Raises:
        DcubeError: if the server does not answer, requires a password, or does not have the run.
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
    """Set a run that has not begun to failed."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Failed(message=reason), force=True)


def has_stopped(run: FlowRun) -> bool:
    """Return whether nothing works on the run now, because it has ended or crashed."""
    return bool(run.state and run.state.is_final())


def has_ended(run: FlowRun) -> bool:
    """Return whether the run has ended permanently, unlike a crashed run, which is scheduled again."""
    return has_stopped(run) and not (run.state and run.state.is_crashed())


# --- deployments and automations


def start_run(deployment: str, **options: Any) -> FlowRun:
    """Start a run of the deployment without waiting for it; `options` are those of `run_deployment`.

    Raises:
        DcubeError: if there is no such deployment.
    """
    try:
        run: Any = run_deployment(deployment, timeout=0, as_subflow=False, **options)
    except (ObjectNotFound, ValueError):  # a name without a slash
        raise _no_deployment(deployment) from None
    return run


def start_once(deployment: str, key: str, **options: Any) -> FlowRun:
    """Start a run, or return the run that an earlier call with this key started, unless it failed.

    Raises:
        DcubeError: if there is no such deployment.
    """
    run = start_run(deployment, idempotency_key=key, **options)
    while has_ended(run) and not (run.state and run.state.is_completed()):
        run = start_run(deployment, idempotency_key=f"{key} {run.id}", **options)
    return run


def parameters_of(deployment: str) -> dict[str, Any]:
    """Return the parameters of a deployment, or raise `DcubeError` if it does not exist."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(deployment).parameters
        except (ObjectNotFound, ValueError):
            raise _no_deployment(deployment) from None


def parameters_of_flow(deployment_id: UUID) -> set[str]:
    """Return the names of the parameters that the deployment's flow accepts."""
    with get_client(sync_client=True) as client:
        schema = client.read_deployment(deployment_id).parameter_openapi_schema or {}
    return set(schema.get("properties", {}))


def create_or_update(automation: Automation) -> None:
    """Create the automation, or update the one with the same name."""
    try:
        found = Automation.read(name=automation.name)
    except ValueError:
        automation.create()
        return
    automation.id = found.id  # type: ignore[attr-defined]  # `read` is synchronous without an event loop
    automation.update()


# --- errors


def retry_if(worth_retrying: Callable[[Any, int], bool]) -> Callable[[Task[..., Any], TaskRun, State[Any]], bool]:
    """Return a `retry_condition_fn` from a function of a task's exception and its number of attempts."""

    def condition(_: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
        return worth_retrying(state.result(raise_on_failure=False), run.run_count)

    return condition  # a plain function, because Prefect treats a `functools.partial` as false


def log_errors_in_one_line() -> None:
    """Log a `DcubeError`, or a file of another user, that ends a task or a flow of this process without traceback."""
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    problem = owner_problem(error) if isinstance(error, OSError) else None
    if problem:
        record.msg, record.args = problem, ()
    if problem or isinstance(error, DcubeError):
        record.exc_info = None
    return True


def _no_deployment(name: str) -> DcubeError:
    mend = "`python -m flows.deploy` creates them, `prefect deployment ls` lists them"
    return DcubeError(f"no deployment {name}: {mend}")
