"""What an attempt of a run takes over from the earlier ones: their commit, and how often they were cut off.

A crashed run is scheduled again, whatever it crashed of. So a deployed run is looked at twice: before Prefect calls the
flow, where a run may fail that can never begin (`refuse_hopeless`), and in the flow of the pipeline (`begin_attempt`).
"""

from pathlib import Path
from uuid import UUID

from prefect.client.schemas.objects import State, StateType

from dcube.errors import DcubeError
from dcube.repository.commands import commit_of
from flows.prefect_api import (
    fail_run,
    parameters_of_flow,
    remember_commit,
    remembered_commit,
    run_of,
    states_of,
    this_run,
)

MOST_ATTEMPTS = 10  # of a flow without a parameter of this kind
ENDS = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED}


def begin_attempt(repository: Path, revision: str, most: int) -> str:
    """The commit to work with: what `revision` named at the first attempt, wherever a branch has moved to since.

    Raises:
        DcubeError: after `most` attempts that were cut off, or where the revision is unknown.
    """
    run_id = this_run()
    _refuse_more_than(most, run_id)
    known = remembered_commit(run_id)
    commit = commit_of(repository, known or revision)
    if not known:
        remember_commit(run_id, commit)
    return commit


def refuse_hopeless(run_id: UUID) -> None:
    """Let a run fail that can never begin, before it crashes and is scheduled again: for ever, else.

    Raises:
        DcubeError: it was cut off too often, or has parameters that its flow does not take. The run has failed then.
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
    """Crashes since the run last ended otherwise: a person's retry begins anew."""
    types = [state.type for state in sorted(states, key=lambda state: state.timestamp)]
    ended = max((place for place, kind in enumerate(types) if kind in ENDS), default=-1)
    return types[ended + 1 :].count(StateType.CRASHED)


def _refuse_more_than(most: int, run_id: UUID) -> None:
    if (cut_off := crashes_in_a_row(states_of(run_id))) >= most:
        raise DcubeError(
            f"given up: {cut_off} attempts were interrupted from outside (killed, out of memory, machine lost); "
            "read the log of the worker, then retry the run"
        )
