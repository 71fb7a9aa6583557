"""The cells of a study over all workers: every cell is a run of the pipeline, up to the stage that the study reports.

`dcube study NAME --workers` calls this, and then collects: what the workers have computed is known by then.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any
from uuid import UUID

import typer
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL

from dcube.errors import DcubeError, one_line_errors
from dcube.repository.workspace import DATA_RECORD, git
from dcube.studies.asked import asked
from dcube.studies.cells import Cell
from dcube.studies.options import Data, Name, Repeats, Rows, Settings
from dcube.studies.running import Runner
from flows.reporting import StageProgress

SECONDS_BETWEEN_LOOKS = 2.0
SHARED = ["select_features", "synthesize"]  # what cells of one diffusion model have in common
UPSTREAM = {"data", "diffusion", "fid", "features", "synthesis", "compute"}  # the parameters that decide it
TAG = "study"


@flow(name="study", description="Compute the cells of a study on the workers, what they share first.")
def study(
    name: str,
    data: str | None = None,
    settings: Sequence[str] = (),
    rows: Sequence[str] = (),
    repeats: int | None = None,
    deployment: str | None = None,
) -> int:
    """Run every cell as a run of the pipeline's deployment.

    Args:
        name: of the study, or a .yaml file of one.
        deployment: of the pipeline; None is pipeline/DATA.

    Returns:
        The number of runs.
    """
    runner = asked(name, data, settings, rows, repeats)
    used = deployment or f"pipeline/{runner.base.data.name}"
    refuse_unshared(runner)
    first = runner.first_cells()
    began = [compute(used, runner, _one_of_each(first), SHARED)] if runner.study.report == "evaluation" else []
    began.append(compute(used, runner, first))
    if any(cell.chosen for cell in first):
        began.append(compute(used, runner, runner.cells(runner.choices())))
    return sum(began)


def refuse_unshared(runner: Runner) -> None:
    """Raises: DcubeError: the workers cannot see the data."""
    if runner.data_record is not None and git(runner.repository, "status", "--porcelain", DATA_RECORD):
        raise DcubeError(f"{DATA_RECORD} is not committed, and workers compute with the last commit: commit it")


def compute(deployment: str, runner: Runner, cells: Iterable[Cell], targets: Sequence[str] = ()) -> int:
    """Start a run a cell (equal ones once) and wait for all of them.

    Args:
        targets: stages to run instead of the cells' own.

    Raises:
        DcubeError: naming the runs that did not end well.
    """
    wanted = {cell.key: cell for cell in cells}
    runs = {key: start(deployment, runner, cell, targets or [cell.target]) for key, cell in wanted.items()}
    ended = wait_for(list(runs.values()))
    failed = [
        f"{wanted[key].title}: {ended[run].state.message}"  # type: ignore[union-attr]
        for key, run in runs.items()
        if not (ended[run].state and ended[run].state.is_completed())  # type: ignore[union-attr]
    ]
    if failed:
        raise DcubeError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed[:3])}")
    return len(runs)


def start(deployment: str, runner: Runner, cell: Cell, targets: Sequence[str], instead_of: str = "") -> UUID:
    """Start the cell's run, or find the one that an earlier attempt at the study has started, unless it failed."""
    try:
        run: Any = run_deployment(
            deployment,
            parameters={
                "params": cell.params.model_dump(mode="json"), "targets": list(targets), "revision": runner.commit
            },
            timeout=0,
            tags=["dcube", TAG, runner.name],
            as_subflow=False,
            idempotency_key=f"{TAG} {runner.commit} {runner.store.name} {cell.key} {' '.join(targets)} {instead_of}",
            flow_run_name=f"{runner.name}: {cell.title}",
        )  # fmt: skip
    except (ObjectNotFound, ValueError):
        raise DcubeError(f"no deployment {deployment}: `python -m flows.deploy` makes them") from None
    if _ended(run) and not run.state.is_completed():
        return start(deployment, runner, cell, targets, instead_of=str(run.id))
    return run.id


def wait_for(runs: list[UUID]) -> dict[UUID, FlowRun]:
    """Until every run has ended; a crashed one begins again by itself and is waited for."""
    progress, seen = StageProgress("study"), -1
    began = time.monotonic()
    while True:
        with get_client(sync_client=True) as client:
            states = {run: client.read_flow_run(run) for run in runs}
        done = {run: one for run, one in states.items() if _ended(one)}
        if len(done) != seen:
            seen = len(done)
            elapsed = max(time.monotonic() - began, 1e-9)
            left = elapsed / seen * (len(runs) - seen) if seen else None
            record = {
                "description": "Runs on the workers", "completed": seen, "total": len(runs), "unit": "runs",
                "rate": seen / elapsed, "remaining_s": left, "values": {},
            }  # fmt: skip
            progress.show(record)
            get_run_logger().info("%d of %d runs have ended", seen, len(runs))
        if len(done) == len(runs):
            return states
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _ended(run: FlowRun) -> bool:
    return bool(run.state and run.state.is_final() and not run.state.is_crashed())


def _one_of_each(cells: list[Cell]) -> list[Cell]:
    """One cell for each diffusion model: two workers shall not train the same one at once."""
    return list({cell.params.model_dump_json(include=UPSTREAM): cell for cell in cells}.values())


def main(
    name: Name,
    data: Data = None,
    settings: Settings = None,
    row: Rows = None,
    repeats: Repeats = None,
    deployment: Annotated[str | None, typer.Option(help="Of the pipeline; without: pipeline/DATA.")] = None,
) -> None:
    """Compute the cells of a study on the workers of PREFECT_API_URL."""
    with one_line_errors():
        if not PREFECT_API_URL.value():
            raise DcubeError("no Prefect server: set PREFECT_API_URL, e.g. to http://127.0.0.1:4200/api")
        study(name, data, settings or [], row or [], repeats, deployment)


if __name__ == "__main__":
    command = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    command.command()(main)
    command()
