"""The only runner of `dvc repro`, in a separate process group, because DVC does not forward signals to its stages.

DVC's output has to be parsed (`dvc_texts`), because even its Python interface gives the exit code of a stage's command
only in the text of an exception.
"""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from dcube.artifacts.schemas.progress import ProgressUpdate
from dcube.errors import BAD_INPUT, DcubeError, last_error
from dcube.repository.dvc_texts import error_in, exit_code_in, started_stage
from dcube.repository.graph import stages_in_order
from dcube.repository.workspace import remove_torn_files
from dcube.runtime.process_output import ProgressFile, follow
from dcube.runtime.processes import child_environment
from dcube.runtime.settings import variable_of

SHELL_KILLED = 128  # a shell whose command was killed by signal N exits with 128 + N
LINES_KEPT = 200
STAGE_OWNER = variable_of("stage_owner")
STAGES = variable_of("stages")  # names the stages whose parameters a stage checks


@dataclass(frozen=True)
class ReproResult:
    """Result of `dvc repro TARGET`.

    Attributes:
        ran: stages whose command ran; the results of the others were cached.
        reason: reason for the failure in one line; None after success.
        exit_code: exit code of the failed command; None if no command failed, because DVC refused to begin or was
            killed itself.
    """

    target: str
    ran: tuple[str, ...] = ()
    reason: str | None = None
    exit_code: int | None = None

    @property
    def failed(self) -> bool:
        return self.reason is not None

    @property
    def killed_by(self) -> signal.Signals | None:
        """Signal that ended the command, or None. The shell may run the command as a child or be replaced by it."""
        return killed_by(self.exit_code) if self.exit_code else None

    @property
    def bad_input(self) -> bool:
        """Whether the input has to be corrected by a person, so that another attempt would fail too."""
        return self.exit_code == BAD_INPUT

    @property
    def interrupted(self) -> bool:
        """Whether the command was killed or never began, so that another attempt may succeed."""
        return self.failed and (self.exit_code is None or self.killed_by is not None)


def repro(
    target: str,
    folder: Path,
    options: Sequence[str] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
    without: tuple[str, ...] = (),
    on_line: Callable[[str], None] = print,
    on_progress: Callable[[ProgressUpdate], None] | None = None,
) -> ReproResult:
    """Run `dvc repro` in the workspace `folder`, with the code in that folder.

    All its processes end with this call, also if it ends with an exception; but the server that forks for the stages
    stays for the next call, and ends with this process.

    Args:
        options: options of `dvc repro`.
        variables: added to the environment. By default, `DCUBE_STAGES` is TARGET and its dependencies.
        without: prefixes of the names of variables that the stages must not inherit.
        on_line: called with every line of output.
        on_progress: called with the newest progress update of the stage that runs.
    """
    remove_torn_files(folder)
    variables = {STAGE_OWNER: str(os.getpid()), **variables}
    if STAGES not in variables:
        variables = {STAGES: _stages(target, folder), **variables}
    output = _Output(target)

    def read(line: str) -> None:
        output.add(line)
        on_line(line)

    command = [sys.executable, "-m", "dvc", "repro", *options, target]
    environment = child_environment({"PYTHONUNBUFFERED": "1", **variables}, code=folder, without=without)
    progress = ProgressFile(folder / ".dvc/tmp" / f"progress-{target}.jsonl", on_progress) if on_progress else None
    return output.result(failed=follow(command, folder, environment, read, progress) != 0)


def _stages(target: str, folder: Path) -> str:
    """Return the stages that run, or empty text for a faulty graph, which DVC itself reports."""
    try:
        return " ".join(stage.name for stage in stages_in_order(folder, [target]))
    except DcubeError:
        return ""


def killed_by(exit_code: int) -> signal.Signals | None:
    number = -exit_code if exit_code < 0 else exit_code - SHELL_KILLED
    return signal.Signals(number) if number in set(signal.Signals) else None


class _Output:
    """Collector of the output of `dvc repro`, which builds the result."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._ran: list[str] = []
        self._own: deque[str] = deque(maxlen=LINES_KEPT)  # last lines of the running stage
        self._dvc = ""

    def add(self, line: str) -> None:
        if stage := started_stage(line):
            self._ran.append(stage)
            self._own.clear()
        elif error := error_in(line):
            self._dvc = error
        else:
            self._own.append(line.strip())

    def result(self, failed: bool) -> ReproResult:
        if not failed:
            return ReproResult(self.target, tuple(self._ran))
        exit_code = exit_code_in(self._dvc)
        return ReproResult(self.target, tuple(self._ran), self._reason(exit_code), exit_code)

    def _reason(self, exit_code: int | None) -> str:
        """Return the signal, the stage's last `error:` line, its last line if a command failed, or DVC's own error."""
        if exit_code and (signal := killed_by(exit_code)):
            return f"killed by {signal.name}"
        if own := last_error(list(self._own)):
            return own
        if exit_code:
            return f"{self._own[-1]} (exit code {exit_code})"
        return self._dvc or "dvc ended without a message"
