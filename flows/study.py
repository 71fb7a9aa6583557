"""Flow that distributes the trials of a study: every trial is a run of the pipeline up to the stage to be reported.

`dcube study NAME --workers` calls this flow first, and then collects the results that the workers have computed.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated
from uuid import UUID

import typer
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_run_logger

from dcube.artifacts.layout import DATA_RECORD
from dcube.artifacts.schemas.progress import ProgressUpdate
from dcube.errors import DcubeError, one_line_errors
from dcube.repository.commands import git
from dcube.runtime import retries
from dcube.runtime.processes import prepare_process
from dcube.studies.building import build_runner
from dcube.studies.options import Data, Name, Repeats, Rows, Settings
from dcube.studies.runner import Runner
from dcube.studies.trials import Trial
from flows.prefect_api import has_ended, log_errors_in_one_line, require_server, run_of, start_once
from flows.reporting import StageProgress

SHARED = ["select_features", "synthesize"]  # stages that trials with the same diffusion model share
UPSTREAM = {"data", "diffusion", "fid", "features", "synthesis", "compute"}  # parameters of the shared stages
TAG = "study"


@flow(name="study", description="Compute the trials of a study on the workers, what they share first.")
def study(
    name: str,
    data: str | None = None,
    settings: Sequence[str] = (),
    rows: Sequence[str] = (),
    repeats: int | None = None,
    deployment: str | None = None,
) -> int:
    """Run every trial as a run of the pipeline's deployment.

    Args:
        name: name of the study, or its .yaml file.
        data: same as for `build_runner`, like `settings`, `rows` and `repeats`.
        deployment: deployment of the pipeline. None: pipeline/DATA.

    Returns:
        The number of runs.
    """
    log_errors_in_one_line()
    runner = build_runner(name, data, settings, rows, repeats)
    used = deployment or f"pipeline/{runner.base.data.name}"
    refuse_unshared(runner)
    first = runner.first_trials()
    began = [compute(used, runner, _one_of_each(first), SHARED)] if runner.study.report == "evaluation" else []
    began.append(compute(used, runner, first))
    if any(trial.chosen for trial in first):
        began.append(compute(used, runner, runner.trials(runner.choices())))
    return sum(began)


def refuse_unshared(runner: Runner) -> None:
    """Raise `DcubeError` if `data.dvc` has uncommitted changes, because workers would not get these data."""
    if runner.data_record is not None and git(runner.repository, "status", "--porcelain", DATA_RECORD):
        raise DcubeError(f"{DATA_RECORD} is not committed, and workers compute with the last commit: commit it")


def compute(deployment: str, runner: Runner, trials: Iterable[Trial], targets: Sequence[str] = ()) -> int:
    """Start one run per trial (one for equal trials), wait for all runs, and return their number.

    Args:
        targets: stages to run instead of the trials' own.

    Raises:
        DcubeError: if runs failed; the message names the first of them.
    """
    wanted = {trial.key: trial for trial in trials}
    runs = {key: start(deployment, runner, trial, targets or [trial.target]) for key, trial in wanted.items()}
    ended = wait_for(list(runs.values()))
    failed = [
        f"{wanted[key].title}: {ended[run].state.message}"  # type: ignore[union-attr]
        for key, run in runs.items()
        if not (ended[run].state and ended[run].state.is_completed())  # type: ignore[union-attr]
    ]
    if failed:
        raise DcubeError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed[:3])}")
    return len(runs)


def start(deployment: str, runner: Runner, trial: Trial, targets: Sequence[str]) -> UUID:
    """Start the trial's run, or find the run that an earlier attempt of the study started, unless it failed."""
    run = start_once(
        deployment,
        key=f"{TAG} {runner.commit} {runner.store.name} {trial.key} {' '.join(targets)}",
        parameters={
            "params": trial.params.model_dump(mode="json"), "targets": list(targets), "revision": runner.commit
        },
        tags=["dcube", TAG, runner.name],
        flow_run_name=f"{runner.name}: {trial.title}",
    )  # fmt: skip
    return run.id


def wait_for(runs: list[UUID]) -> dict[UUID, FlowRun]:
    """Wait until every run has ended. Crashed runs are scheduled again automatically, and are waited for."""
    show, states = _shown_progress(len(runs)), {}

    def have_ended() -> bool:
        states.update({run: _existing(run) for run in runs})
        done = sum(map(has_ended, states.values()))
        show(done)
        return done == len(runs)

    retries.END_OF_RUNS.wait_until(have_ended)
    return states


def _shown_progress(total: int) -> Callable[[int], None]:
    """Return a function that shows the number of ended runs if it has changed."""
    progress, began, seen = StageProgress("study"), time.monotonic(), -1

    def show(done: int) -> None:
        nonlocal seen
        if done == seen:
            return
        seen = done
        elapsed = max(time.monotonic() - began, 1e-9)
        update = ProgressUpdate(
            description="Runs on the workers", completed=done, total=total, unit="runs", rate=done / elapsed,
            remaining_s=elapsed / done * (total - done) if done else None, values={},
        )  # fmt: skip
        progress.show(update)
        get_run_logger().info("%d of %d runs have ended", done, total)

    return show


def _existing(run: UUID) -> FlowRun:
    found = run_of(run)
    if found is None:
        raise DcubeError(f"run {run} was deleted from the Prefect server: start the study again")
    return found


def _one_of_each(trials: list[Trial]) -> list[Trial]:
    """Return one trial per diffusion model, so that no two workers train the same model at the same time."""
    return list({trial.params.model_dump_json(include=UPSTREAM): trial for trial in trials}.values())


def main(
    name: Name,
    data: Data = None,
    settings: Settings = None,
    row: Rows = None,
    repeats: Repeats = None,
    deployment: Annotated[str | None, typer.Option(help="Pipeline deployment. Default: pipeline/DATA.")] = None,
) -> None:
    """Compute the trials of a study on the workers of PREFECT_API_URL."""
    prepare_process()
    with one_line_errors():
        require_server()
        study(name, data, settings or [], row or [], repeats, deployment)


if __name__ == "__main__":
    command = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    command.command()(main)
    command()
