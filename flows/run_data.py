"""The data of a run: those that its commit records, or an embedded data set."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from dcube.artifacts.layout import RAW
from dcube.errors import DcubeError, last_error
from dcube.repository.dvc_internals import restore_data
from dcube.runtime.process_output import follow
from dcube.runtime.processes import child_environment


def restore_or_add(folder: Path, name: str, on_line: Callable[[str], None]) -> None:
    """Restore the data set `name` in the workspace `folder`.

    An embedded data set that is not recorded, or that cannot be restored because nobody pushed it, is created in the
    workspace instead, so that its presets run on a new platform.

    Raises:
        DcubeError: if the recorded data cannot be restored, and `name` is not an embedded data set.
    """
    problem: DcubeError | None = None
    try:
        restore_data(folder)
    except DcubeError as error:
        problem = error
    if not problem and (folder / RAW / name).exists():
        return
    from dcube.data.adding import is_embedded  # slow, because it imports all image readers

    if not is_embedded(name):
        if problem:
            raise problem
        return
    reason = problem or "not among the data of this commit"
    on_line(f"The embedded {name} is added to the workspace: {reason}")
    shutil.rmtree(folder / RAW, ignore_errors=True)
    lines: list[str] = []
    command = [sys.executable, "-m", "dcube.cli", "data", "add", name]
    if follow(command, folder, child_environment(code=folder), lines.append):
        raise DcubeError(last_error(lines) or f"dcube data add {name} ended without a message")
    restore_data(folder)
