"""What a cancelled run leaves: nothing of its workspace. Its checkpoints and finished stages are kept elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.logging import get_run_logger

from dcube.repository.workspace import remove_workspace, workspaces_of
from flows.prefect_api import run_of, this_run


@contextmanager
def workspace_removed_if_cancelled(repository: Path, name: str) -> Iterator[None]:
    """Remove the workspace `name` if a signal ends the block because somebody cancelled the run.

    Other signals may be of a machine that stops: another attempt of the run then continues in the workspace.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException:
        if _is_cancelled():
            remove_workspace(repository, workspaces_of(repository) / name)
            get_run_logger().info("The run was cancelled: its workspace is removed")
        raise


def _is_cancelled() -> bool:
    try:
        run = run_of(this_run())
    except httpx.HTTPError:
        return False  # `housekeeping` removes the workspace later
    return bool(run and run.state and (run.state.is_cancelling() or run.state.is_cancelled()))
