"""The data of a run: what its commit records, or an embedded set."""

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
    """Bring the data set `name` into the workspace `folder`.

    An embedded set that is not among the recorded data, or that nobody has pushed, takes their place in the workspace:
    its presets run on a platform that was just started.

    Raises:
        DcubeError: the recorded data cannot be restored.
    """
    problem: DcubeError | None = None
    try:
        restore_data(folder)
    except DcubeError as error:
        problem = error
    if not problem and (folder / RAW / name).exists():
        return
    from dcube.data.adding import is_embedded  # brings all readers of images along

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
