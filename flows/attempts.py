"""State that an attempt of a run takes from earlier attempts: their commit, and the number of crashes.

A crashed run is scheduled again for any reason. A deployed run is therefore checked twice: before Prefect calls the
flow, to fail a run that can never begin (`refuse_hopeless`), and in the pipeline's flow (`begin_attempt`).
"""

from pathlib import Path
from uuid import UUID

from prefect.client.schemas.objects import State, StateType

from dcube.errors import DcubeError
from dcube.repository.commands import commit_of
from flows.prefect_api import (
    fail_run,
    has_ended,
    parameters_of_flow,
    remember_commit,
    remembered_commit,
    run_of,
    states_of,
    this_run,
)

MOST_ATTEMPTS = 10  # for flows without a parameter `attempts`
ENDS = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED}


def begin_attempt(repository: Path, revision: str, most: int) -> str:
    """Return the commit to work with: that of `revision` at the first attempt, even if a branch has moved since.

    Raises:
        DcubeError: if `most` attempts in a row crashed, or if the revision is unknown.
    """
    run_id = this_run()
    _refuse_more_than(most, run_id)
    known = remembered_commit(run_id)
    commit = commit_of(repository, known or revision)
    if not known:
        remember_commit(run_id, commit)
    return commit


def state_if_ended() -> State | None:
    """Return the state of this run if another attempt of it has ended it."""
    run = run_of(this_run())
    return run.state if run and has_ended(run) else None


def refuse_hopeless(run_id: UUID) -> None:
    """Fail a run that can never begin, because it would otherwise crash and be scheduled again without end.

    Raises:
        DcubeError: if the run crashed too often, or has parameters that its flow does not accept. The run is then set
            to failed.
    """
    run = run_of(run_id)
    if run is None or run.deployment_id is None:
        return
    try:
        known = parameters_of_flow(run.deployment_id)
        if known and (unknown := sorted(run.parameters.keys() - known)):
            raise DcubeError(f"the flow takes no {', '.join(unknown)}: its parameters are {', '.join(sorted(known))}")
        most = run.parameters.get("attempts")
        _refuse_more_than(most if isinstance(most, int) else MOST_ATTEMPTS, run_id)
    except DcubeError as error:
        fail_run(run_id, str(error))
        raise


def crashes_in_a_row(states: list[State]) -> int:
    """Count the crashes since the run last ended in another way, so that a retry by a person starts from 0."""
    types = [state.type for state in sorted(states, key=lambda state: state.timestamp)]
    ended = max((place for place, kind in enumerate(types) if kind in ENDS), default=-1)
    return types[ended + 1 :].count(StateType.CRASHED)


def _refuse_more_than(most: int, run_id: UUID) -> None:
    if (cut_off := crashes_in_a_row(states_of(run_id))) >= most:
        raise DcubeError(
            f"given up: {cut_off} attempts were interrupted from outside (killed, out of memory, machine lost); "
            "read the log of the worker, then retry the run"
        )
