"""Flow that cleans up after runs that did not end properly, for example because their machine was lost."""

import shutil
import time
from pathlib import Path
from typing import Annotated
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_run_logger
from pydantic import Field

from dcube.repository.commands import repository_around
from dcube.repository.workspace import remove_workspace, workspaces_of
from dcube.runtime.settings import read_settings
from flows.mlflow_runs import end_runs, running_pipelines
from flows.prefect_api import has_stopped, log_errors_in_one_line, run_of

SECONDS_PER_DAY = 86_400


@flow(
    name="housekeeping",
    description="Ends MLflow runs of ended Prefect runs, and removes old workspaces and forgotten checkpoints.",
)
def housekeeping(
    keep_days: Annotated[float, Field(ge=0)] = 7, keep_checkpoint_days: Annotated[float, Field(ge=1)] = 30
) -> None:
    """Remove old workspaces and checkpoints of this machine, and end unfinished runs in MLflow.

    Args:
        keep_days: days for which the workspace of a failed run is kept; that of a cancelled run is removed at once.
        keep_checkpoint_days: days for which the checkpoints of an unfinished training are kept on this machine; a
            running training renews them every minute.
    """
    log_errors_in_one_line()
    logger = get_run_logger()
    for pipeline in sorted(running_pipelines()):
        if is_of_stopped_run(pipeline):
            end_runs(pipeline)
            logger.info("Ended the MLflow runs of %s", pipeline)
    repository = repository_around(Path.cwd())
    for workspace in sorted(workspaces_of(repository).glob("*-*-*-*-*")):
        if is_of_cancelled_run(workspace.name) or (
            days_untouched(workspace) >= keep_days and is_of_stopped_run(workspace.name)
        ):
            remove_workspace(repository, workspace)
            logger.info("Removed the workspace %s", workspace)
    for training in sorted((repository / read_settings().checkpoints).glob("*")):
        if days_untouched(training) >= keep_checkpoint_days:
            shutil.rmtree(training)
            logger.info("Removed the checkpoints %s", training)


def days_untouched(folder: Path) -> float:
    return (time.time() - folder.stat().st_mtime) / SECONDS_PER_DAY


def is_of_stopped_run(name: str) -> bool:
    """Return whether `name` is the id of a Prefect run that has stopped. Pipelines outside Prefect have other names."""
    run = _run_named(name)
    return run is not None and has_stopped(run)


def is_of_cancelled_run(name: str) -> bool:
    run = _run_named(name)
    return bool(run and run.state and run.state.is_cancelled())


def _run_named(name: str) -> FlowRun | None:
    try:
        return run_of(UUID(name))
    except ValueError:
        return None
