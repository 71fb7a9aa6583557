"""What an attempt of a run takes over from the earlier ones: their commit, and how often they were cut off."""

from pathlib import Path

from prefect.client.schemas.objects import State, StateType

from dcube.errors import DcubeError
from dcube.repository.commands import commit_of
from flows.prefect_api import remember_commit, remembered_commit, states_of, this_run

ENDS = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED}


def begin_attempt(repository: Path, revision: str, most: int) -> str:
    """The commit to work with: what `revision` named at the first attempt, wherever a branch has moved to since.

    Raises:
        DcubeError: after `most` attempts that were cut off, or where the revision is unknown.
    """
    run_id = this_run()
    if (cut_off := crashes_in_a_row(states_of(run_id))) >= most:
        raise DcubeError(
            f"given up: {cut_off} attempts were cut off from outside (killed, out of memory, machine lost); "
            "read the log of the worker, then retry the run"
        )
    known = remembered_commit(run_id)
    commit = commit_of(repository, known or revision)
    if not known:
        remember_commit(run_id, commit)
    return commit


def crashes_in_a_row(states: list[State]) -> int:
    """Crashes since the run last ended otherwise: a person's retry begins anew."""
    types = [state.type for state in sorted(states, key=lambda state: state.timestamp)]
    ended = max((place for place, kind in enumerate(types) if kind in ENDS), default=-1)
    return types[ended + 1 :].count(StateType.CRASHED)
