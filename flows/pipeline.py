"""The stages of `dvc.yaml` as one Prefect flow: `python -m flows.pipeline --help`."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, State
from prefect.tasks import exponential_backoff
from pydantic import Field

from dcube.config.loading import load_params, load_preset, not_given, with_settings
from dcube.config.schema import Params
from dcube.errors import DcubeError, abbreviated, one_line_errors
from dcube.repository.commands import repository_around
from dcube.repository.data_remote import push_results
from dcube.repository.dvc_internals import has_remote
from dcube.repository.experiments import save_experiment, share_experiment
from dcube.repository.graph import StageNeeds, stages_in_order
from dcube.repository.repro import STAGES, repro
from dcube.repository.workspace import workspace, workspace_lock, workspaces_of
from dcube.runtime import retries
from dcube.runtime.processes import prepare_process
from dcube.runtime.s3 import StorageUnavailableError, check_storage
from dcube.runtime.settings import variable_of
from dcube.tracking.code_revision import uncommitted
from dcube.tracking.mlflow_client import tracking_uri
from flows.attempts import begin_attempt, state_if_ended
from flows.cancellation import workspace_removed_if_cancelled
from flows.checkout import is_clone_of_worker
from flows.mlflow_runs import mlflow_runs_ended, page_of
from flows.planning import plan_parameters
from flows.prefect_api import log_errors_in_one_line, retry_if
from flows.reporting import ShownPictures, StageProgress, show_page, slug
from flows.results_page import show_results
from flows.run_data import restore_or_add
from flows.stage_errors import StageError
from flows.temporary_server import ensure_server

SECONDS_BEFORE_RETRY = 10
RETRIES_IF_INTERRUPTED = 3  # minimum for all stages that were killed or could not begin
PAPER = Params()


@flow(name="pipeline", description="From raw images to a registered classifier: every stage of dvc.yaml, in order.")
def pipeline(
    params: Params = PAPER,
    settings: Sequence[str] = (),
    revision: str = "HEAD",
    targets: Sequence[str] = (),
    minutes: Annotated[float | None, Field(ge=1, le=60_000)] = None,
    attempts: Annotated[int, Field(ge=1, le=100)] = 10,
) -> str | State[Any]:
    """Run the whole method, or `targets` and their dependencies, in a separate working copy.

    Args:
        params: The method's parameters, filled in from the preset: the groups and names of params.yaml, all of them.
        settings: Single values that override the ones above, each as group.key=value: diffusion.epochs=20 for example.
        revision: Commit, branch or tag of the repository to run. HEAD is the last commit of the worker's checkout.
        targets: Stages of dvc.yaml to run with all that they depend on, evaluate for example. Empty: all.
        minutes: Plan the parameters on the worker for this time (`dcube plan`); of the above, it uses data.name and
            settings only. Empty: the parameters are used as they are.
        attempts: How often a run that is interrupted (killed, out of memory, machine lost) may start, 1 to 100.

    Returns:
        The name of the DVC experiment that holds parameters and results; the state of the run if an earlier attempt,
        which the server took for dead, has ended it meanwhile.
    """
    log_errors_in_one_line()
    logger = get_run_logger()
    refuse_incomplete(params)
    validated = with_settings(params, settings)
    repository = repository_around(Path.cwd())
    run_id = str(flow_run.get_id())
    # Stages must not log to a database inside the workspace, because the workspace is removed.
    tracking = tracking_uri(repository)
    variables = {variable_of("pipeline"): run_id, variable_of("tracking_uri"): tracking}
    experiment = f"{slug(str(flow_run.get_name()))}-{run_id[:8]}"
    with ExitStack() as attempt:
        attempt.enter_context(workspace_lock(repository, run_id, logger.warning))
        if ended := state_if_ended():
            logger.warning("An earlier attempt of this run was still at work, and has ended it")
            return ended
        attempt.enter_context(mlflow_runs_ended(run_id, tracking))
        attempt.enter_context(workspace_removed_if_cancelled(repository, run_id))
        commit = begin_attempt(repository, revision, attempts)
        if revision == "HEAD" and not is_clone_of_worker(repository) and (changed := uncommitted()):
            logger.warning("The run uses the last commit, without the changes of: %s", ", ".join(changed))
        logger.info("Workspace, kept if the run fails: %s", workspaces_of(repository) / run_id)
        wait_for_storage()
        restore = partial(restore_or_add, name=validated.data.name, on_line=logger.warning)
        with workspace(repository, commit, run_id, validated.to_yaml(), restore=restore) as folder:
            if minutes:
                plan_parameters(folder, validated.data.name, minutes, settings, logger.info)
            shared = has_remote(folder)
            stages = stages_in_order(folder, targets)
            page = None
            variables |= {STAGES: " ".join(stage.name for stage in stages)}
            for stage in stages:
                run_one(stage, folder, variables, shared)
                if not page and (page := page_of(run_id, tracking)):
                    show_page(page)
            show_results(folder, tracking)
            save_experiment(repository, folder, experiment, [stage.name for stage in stages])
            if shared:
                share_results(folder, repository, experiment)
            else:
                logger.info("No DVC remote is configured: the results stay in the cache of %s", repository)
    logger.info("Saved as an experiment: `dvc exp apply %s`; elsewhere first `dcube fetch %s`", experiment, experiment)
    return experiment


def refuse_incomplete(params: Params) -> None:
    """Raise `DcubeError` if a deployed run gets only some parameters, because these would replace the whole preset."""
    if deployment.id and (missing := not_given(params)):
        raise DcubeError(
            f"params lacks {abbreviated(missing)}, which would have the paper's values, not the preset's: give all of "
            "them, as the deployment's form does, or only `settings`, as diffusion.epochs=20"
        )


def run_one(stage: StageNeeds, folder: Path, variables: Mapping[str, str], shared: bool) -> None:
    """Run a stage as a task with its own retries, timeout and tag."""
    try:
        _task_of(stage)(stage.name, folder, variables, shared)
    except TimeoutError:
        raise DcubeError(f"{stage.name}: still running after {stage.timeout_minutes} minutes, its timeout") from None


def wait_for_storage() -> None:
    """Wait until the bucket answers, if one is configured.

    Raises:
        DcubeError: if the bucket cannot be used, or does not answer within the timeout.
    """
    logger = get_run_logger()
    waiting = retries.WAIT_FOR_STORAGE.retrying(
        StorageUnavailableError, on_error=lambda error: logger.warning("%s; trying again", error)
    )
    waiting(check_storage)


@task(cache_policy=NO_CACHE)
def run_stage(name: str, folder: Path, variables: Mapping[str, str], shared: bool) -> State[Any]:
    """Run `dvc repro --single-item` as a process; DVC decides whether the stage has to run.

    If results are `shared`, those of other machines are pulled, and new ones are pushed immediately, because the run
    may continue on another machine.
    """
    logger = get_run_logger()
    wait_for_storage()
    with ShownPictures(name) as pictures:
        result = repro(
            name,
            folder,
            ["--single-item", *(["--pull"] if shared else [])],
            {**variables, variable_of("pictures"): str(pictures.folder)},
            on_line=logger.info,
            on_progress=StageProgress(name, pictures).show,
        )
    if result.failed:
        raise StageError.of(result)
    if result.ran and shared:
        try:
            push_results(folder)
        except DcubeError as error:
            logger.warning("The results of %s are not shared yet, the next push includes them: %s", name, error)
    if result.ran:
        return Completed(message="Ran")
    return Completed(name="Cached", message="Its results were known already")


@task(task_run_name="share_results", cache_policy=NO_CACHE, retries=6, retry_delay_seconds=exponential_backoff(10))
def share_results(folder: Path, repository: Path, experiment: str) -> None:
    """Copy all results to the DVC remote and the bucket. It has many retries, because everything has been computed."""
    push_results(folder)
    share_experiment(repository, experiment)


def _task_of(stage: StageNeeds) -> Callable[[str, Path, Mapping[str, str], bool], object]:
    return run_stage.with_options(
        name=stage.name,
        task_run_name=stage.name,
        description=stage.description,
        tags=["gpu"] if stage.gpu else [],
        retries=max(stage.retries, RETRIES_IF_INTERRUPTED),
        retry_delay_seconds=SECONDS_BEFORE_RETRY,
        retry_condition_fn=retry_if(_worth_retrying(stage.retries)),
        timeout_seconds=stage.timeout_minutes and stage.timeout_minutes * 60,
    )


def _worth_retrying(own_retries: int) -> Callable[[object, int], bool]:
    """Return a condition for retries: never after bad input, always after an interruption, else the stage's own."""

    def worth_retrying(error: object, attempts: int) -> bool:
        if isinstance(error, StageError) and (error.bad_input or error.interrupted):
            return error.interrupted
        return attempts <= own_retries

    return worth_retrying


def main(
    preset: Annotated[str | None, typer.Option(help="Start from this preset.")] = None,
    params: Annotated[Path | None, typer.Option(help="Start from this file (default: params.yaml here).")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="group.key=value. Can be repeated.")] = None,
    revision: Annotated[str, typer.Option(help="Commit, branch or tag to run.")] = "HEAD",
    target: Annotated[list[str] | None, typer.Option(help="Only this stage and what it depends on.")] = None,
) -> None:
    """Run the pipeline in a workspace of its own, against PREFECT_API_URL or a temporary server."""
    prepare_process()
    with one_line_errors():
        if preset and params:
            raise DcubeError("give --preset or --params, not both")
        start = load_preset(preset) if preset else load_params(params or Path("params.yaml"))
        validated = with_settings(start, settings or [])
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that `finally` blocks are run
        ensure_server()
        pipeline(validated, revision=revision, targets=target or ())


if __name__ == "__main__":
    command = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    command.command()(main)
    command()
