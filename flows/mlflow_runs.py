"""The MLflow runs of a Prefect run: their page, and their end together with the Prefect run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dcube.runtime.settings import library_defaults
from dcube.tracking.mlflow_client import FAIL_FAST, all_runs, is_missing_database, tracking_client
from dcube.tracking.pages import run_page
from dcube.tracking.tags import PIPELINE, PIPELINE_RUN, STAGE

if TYPE_CHECKING:
    from mlflow.entities import Run

RUNNING = "attributes.status = 'RUNNING'"

logger = logging.getLogger(__name__)


@contextmanager
def mlflow_runs_ended(pipeline: str, tracking_address: str) -> Iterator[None]:
    """End the remaining MLflow runs of the pipeline with the block. Stages end their own runs unless they are killed.

    The parent run gets the status of the whole pipeline, even if its last stage succeeded.
    """
    try:
        yield
    except BaseException as error:
        _close(pipeline, tracking_address, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    _close(pipeline, tracking_address)


def _close(pipeline: str, tracking_address: str, parent_status: str = "") -> None:
    if is_missing_database(tracking_address):  # a client would create an empty database
        return
    try:
        with library_defaults(FAIL_FAST):
            end_runs(pipeline, tracking_address)
            for run in _parents(pipeline, tracking_address) if parent_status else []:
                tracking_client(tracking_address).set_terminated(run.info.run_id, parent_status)
    except Exception as error:  # this must not change the run's result; `housekeeping` tries again later
        logger.warning("MLflow does not answer (%s): runs of this pipeline may still be shown running", error)


def page_of(pipeline: str, tracking_address: str) -> str | None:
    """Return the address of the pipeline's page in MLflow; None without a server, or if it has no run yet."""
    if not tracking_address.startswith("http"):
        return None
    try:
        with library_defaults(FAIL_FAST):
            found = _parents(pipeline, tracking_address)
    except Exception as error:
        logger.warning("MLflow does not answer (%s): its page is not linked yet", error)
        return None
    return run_page(tracking_address, found[0]) if found else None


def running_pipelines() -> set[str]:
    """Return the names of the pipelines with MLflow runs that are marked as running."""
    return {run.data.tags[PIPELINE] for run in all_runs(tracking_client(), RUNNING) if PIPELINE in run.data.tags}


def end_runs(pipeline: str, tracking_address: str | None = None) -> None:
    """Mark the pipeline's running MLflow runs as killed, by default on the configured server."""
    client = tracking_client(tracking_address)
    # A list, because ended runs no longer meet the condition and would shift the pages of results.
    for run in list(all_runs(client, f"{RUNNING} and tags.`{PIPELINE}` = '{pipeline}'")):
        client.set_terminated(run.info.run_id, "KILLED")


def _parents(pipeline: str, tracking_address: str) -> "list[Run]":
    wanted = f"tags.`{PIPELINE}` = '{pipeline}' and tags.`{STAGE}` = '{PIPELINE_RUN}'"
    return list(all_runs(tracking_client(tracking_address), wanted))
