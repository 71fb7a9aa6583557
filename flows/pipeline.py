"""The stages of `dvc.yaml` as one Prefect flow: `python -m flows.pipeline --help`."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, State
from prefect.tasks import Task

from dcube.config import Params, load_params, load_preset, params_from
from dcube.errors import DcubeError, one_line_errors
from dcube.workspace import (
    push_results,
    repository_around,
    save_experiment,
    uncommitted_files,
    workspace,
    workspaces_of,
)
from flows.graph import StageNeeds, stages_in_order
from flows.reporting import StageProgress, show_results, slug
from flows.stage_process import StageError, reproduce
from flows.temporary_server import ensure_server

SECONDS_BEFORE_RETRY = 10
PAPER = Params()


@flow(name="pipeline", description="From raw images to a registered classifier: every stage of dvc.yaml, in order.")
def pipeline(params: Params = PAPER, revision: str = "HEAD", targets: list[str] | None = None) -> str:
    """Run the whole method, or `targets` and what they depend on, in a working copy of its own.

    Args:
        params: what `params.yaml` holds.
        revision: commit, branch or tag to run.
        targets: stages of `dvc.yaml`.

    Returns:
        The name of the DVC experiment that holds parameters and results.
    """
    logger = get_run_logger()
    repository = repository_around(Path.cwd())
    run_id = str(flow_run.get_id())
    experiment = f"{slug(str(flow_run.get_name()))}-{run_id[:8]}"
    if revision == "HEAD" and (changed := uncommitted_files(repository)):
        logger.warning("The run uses the last commit, without the changes of: %s", ", ".join(changed))
    logger.info("Workspace, kept if the run fails: %s", workspaces_of(repository) / run_id)
    with workspace(repository, revision, run_id, params.to_yaml()) as folder:
        environment = {"DCUBE_PIPELINE": run_id, "MLFLOW_TRACKING_URI": tracking_address(repository)}
        stages = stages_in_order(folder, targets)
        for stage in stages:
            run_one(stage, folder, environment)
        show_results(folder / "outputs/evaluation")
        save_experiment(repository, folder, experiment, [stage.name for stage in stages])
        if not push_results(folder):
            logger.info("No DVC remote is configured: the results stay in the cache of %s", repository)
    logger.info("Saved as an experiment: `dvc exp apply %s`", experiment)
    return experiment


def run_one(stage: StageNeeds, folder: Path, environment: dict[str, str]) -> None:
    """Run a stage as a task with the retries, the timeout and the tag that it needs."""
    try:
        _task_of(stage)(stage.name, folder, environment)
    except TimeoutError:
        raise DcubeError(f"{stage.name}: still running after {stage.timeout_minutes} minutes, its timeout") from None


def tracking_address(repository: Path) -> str:
    """Where stages log to: never a database inside the workspace, which is removed."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{repository / 'mlflow.db'}"


@task(cache_policy=NO_CACHE)
def run_stage(name: str, folder: Path, environment: dict[str, str]) -> State[Any]:
    """One `dvc repro --single-item` process; DVC decides whether there is anything to do."""
    logger = get_run_logger()
    ran = reproduce(name, folder, environment, logger.info, StageProgress(name).show)
    return Completed(message="Ran") if ran else Completed(name="Cached", message="Its results were known already")


def _task_of(stage: StageNeeds) -> Callable[[str, Path, dict[str, str]], object]:
    return run_stage.with_options(
        name=stage.name,
        task_run_name=stage.name,
        description=stage.description,
        tags=["gpu"] if stage.gpu else [],
        retries=stage.retries,
        retry_delay_seconds=SECONDS_BEFORE_RETRY,
        retry_condition_fn=_worth_retrying,
        timeout_seconds=stage.timeout_minutes and stage.timeout_minutes * 60,
    )


def _worth_retrying(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return not (isinstance(error, StageError) and error.bad_input)


def params_with(params: Params, settings: list[str]) -> Params:
    """`params` with each `group.key=value` laid over it, values read as YAML."""
    values = params.model_dump(mode="json")
    for setting in settings:
        path, equals, value = setting.partition("=")
        *groups, key = path.split(".")
        target = values
        for group in groups:
            target = target.setdefault(group, {})
            if not isinstance(target, dict):
                raise DcubeError(f"--set {setting}: {group} holds no further keys")
        if not equals:
            raise DcubeError(f"--set {setting}: write it as group.key=value")
        target[key] = yaml.safe_load(value)
    return params_from(values, where="--set")


def main(
    preset: Annotated[str | None, typer.Option(help="Start from this preset.")] = None,
    params: Annotated[Path | None, typer.Option(help="Start from this file (default: params.yaml here).")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="group.key=value, any number of times.")] = None,
    revision: Annotated[str, typer.Option(help="Commit, branch or tag to run.")] = "HEAD",
    target: Annotated[list[str] | None, typer.Option(help="Only this stage and what it depends on.")] = None,
) -> None:
    """Run the pipeline in a workspace of its own, against PREFECT_API_URL or a temporary server."""
    with one_line_errors():
        if preset and params:
            raise DcubeError("give --preset or --params, not both")
        start = load_preset(preset) if preset else load_params(params or Path("params.yaml"))
        checked = params_with(start, settings or [])
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that what was begun is ended
        ensure_server()
        pipeline(checked, revision, target)


if __name__ == "__main__":
    command = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    command.command()(main)
    command()
