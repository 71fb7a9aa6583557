"""What an attempt of a run must know of the earlier ones: with which commit they began, and how often they were cut."""

from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run

from dcube.errors import DcubeError
from dcube.repository.workspace import commit_of

COMMIT = "dcube.commit"  # label of a Prefect run
ENDS = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED}


def begin_attempt(repository: Path, revision: str, most: int) -> str:
    """The commit to work with: what `revision` named at the first attempt, wherever a branch has moved to since.

    Raises:
        DcubeError: after `most` attempts that were cut off, or where the revision is unknown.
    """
    run_id = UUID(str(flow_run.get_id()))
    with get_client(sync_client=True) as client:
        cut_off = crashes_in_a_row(client.read_flow_run_states(run_id))
        if cut_off >= most:
            raise DcubeError(
                f"given up: {cut_off} attempts were cut off from outside (killed, out of memory, machine lost); "
                "read the log of the worker, then retry the run"
            )
        known = client.read_flow_run(run_id).labels.get(COMMIT)
        commit = commit_of(repository, str(known or revision))
        if not known:
            client.update_flow_run_labels(run_id, {COMMIT: commit})
    return commit


def crashes_in_a_row(states: list[State]) -> int:
    """Crashes since the run last ended otherwise: a person's retry begins anew."""
    types = [state.type for state in sorted(states, key=lambda state: state.timestamp)]
    ended = max((place for place, kind in enumerate(types) if kind in ENDS), default=-1)
    return types[ended + 1 :].count(StateType.CRASHED)
