"""The MLflow runs of a Prefect run: its page, and that none stays RUNNING longer than it does."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcube.tracking.outbox import IMPATIENT, environment, tracking_client
from dcube.tracking.tags import PIPELINE, STAGE

RUNNING = "attributes.status = 'RUNNING'"

logger = logging.getLogger(__name__)


@contextmanager
def mlflow_runs_ended(pipeline: str, tracking_address: str) -> Iterator[None]:
    """End, with the block, what is left running of the pipeline: its stages end their own runs, unless killed.

    The run that holds the others together ends as the pipeline does, though its last stage may have ended well.
    """
    try:
        yield
    except BaseException as error:
        _close(pipeline, tracking_address, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    _close(pipeline, tracking_address)


def _close(pipeline: str, tracking_address: str, parent_status: str = "") -> None:
    if not _exists(tracking_address):
        return
    try:
        with environment({**IMPATIENT, "MLFLOW_TRACKING_URI": tracking_address}):
            end_runs(pipeline)
            for run in _parents(pipeline) if parent_status else []:
                tracking_client().set_terminated(run.info.run_id, parent_status)
    except Exception as error:  # the run ends as it does; `housekeeping` comes back to it
        logger.warning("MLflow does not answer (%s): runs of this pipeline may still be shown running", error)


def page_of(pipeline: str, tracking_address: str) -> str | None:
    """Address of the MLflow page of the pipeline's runs; None where no server shows it, or not yet."""
    if not tracking_address.startswith("http"):
        return None
    try:
        with environment({**IMPATIENT, "MLFLOW_TRACKING_URI": tracking_address}):
            found = _parents(pipeline)
    except Exception as error:
        logger.warning("MLflow does not answer (%s): its page is not linked yet", error)
        return None
    pages = [f"{tracking_address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" for run in found]
    return pages[0] if pages else None


def running_pipelines() -> set[str]:
    """Names of the pipelines that have MLflow runs marked as running."""
    return {run.data.tags[PIPELINE] for run in _search(RUNNING) if PIPELINE in run.data.tags}


def end_runs(pipeline: str) -> None:
    client = tracking_client()
    for run in _search(f"{RUNNING} and tags.`{PIPELINE}` = '{pipeline}'"):
        client.set_terminated(run.info.run_id, "KILLED")


def _parents(pipeline: str) -> list:
    return _search(f"tags.`{PIPELINE}` = '{pipeline}' and tags.`{STAGE}` = 'pipeline'")


def _exists(tracking_address: str) -> bool:
    """Whether anything was ever logged there: asking would make an empty database."""
    scheme, _, database = tracking_address.partition(":///")
    return scheme != "sqlite" or Path(database).exists()


def _search(condition: str) -> list:
    client = tracking_client()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, condition)) if experiments else []
