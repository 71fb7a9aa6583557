"""One stage as one process group that the flow owns: DVC passes no signal on to what it starts."""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dcube.errors import DcubeError, error_told
from dcube.repository.workspace import remove_torn_files
from dcube.runtime.processes import own_code_first, process_group

SECONDS_BETWEEN_LOOKS = 0.5

SHELL_KILLED = 128  # a shell that waits for a command killed by signal N exits with this + N
BAD_INPUT = 2  # exit code of a stage that found something for a person to mend


class StageError(DcubeError):
    """A stage that ended with an error.

    Attributes:
        bad_input: only a person can mend it, trying again is of no use.
        hindered: it was killed, or never began: not its own fault.
    """

    def __init__(self, stage: str, reason: str, bad_input: bool = False, hindered: bool = False) -> None:
        super().__init__(f"{stage}: {reason}")
        self.bad_input, self.hindered = bad_input, hindered


def reproduce(
    stage: str,
    folder: Path,
    environment: dict[str, str],
    on_line: Callable[[str], None],
    on_progress: Callable[[dict[str, Any]], None],
    shared: bool = False,
) -> bool:
    """Run `dvc repro --single-item stage` in `folder`; True where it ran, False where its results were known.

    Where results are `shared`, those on the DVC remote count as known too. `on_line` gets every line of output,
    `on_progress` the newest progress record. Whatever ends this call, an exception as well, ends all its processes.

    Raises:
        StageError: with the stage's own last error line.
    """
    record = ProgressFile(folder / ".dvc/tmp" / f"progress-{stage}.jsonl")
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", *(["--pull"] if shared else []), stage]
    digest = OutputDigest(stage)

    def told(line: str) -> None:
        digest.add(line)
        on_line(line)

    remove_torn_files(folder)
    if watched(command, folder, environment, record, told, on_progress):
        raise digest.failure()
    return digest.ran


def watched(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    record: "ProgressFile",
    on_line: Callable[[str], None],
    on_progress: Callable[[dict[str, Any]], None],
) -> int:
    """Run a command in `folder` with the code that stands there; its exit code. Arguments as of `reproduce`."""
    with process_group(
        command,
        cwd=folder,
        env=_environment(environment, folder, record.path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        for lines in _output(process):
            for line in lines:
                on_line(line)
            if (newest := record.newest()) is not None:
                on_progress(newest)
        return process.wait()


class OutputDigest:
    """What the lines of `dvc repro` say about the stage."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.ran = False
        self._own: deque[str] = deque(maxlen=200)
        self._dvc = ""

    def add(self, line: str) -> None:
        if line == f"Running stage '{self.stage}':":
            self.ran = True
        elif line.startswith("ERROR: "):
            self._dvc = line.removeprefix("ERROR: ")
        else:
            self._own.append(line.strip())

    def failure(self) -> StageError:
        """The stage's last `error:` line; else its last line of all; else, where it did not start, DVC's."""
        match = re.search(r"exited with (-?\d+)$", self._dvc)
        code = int(match[1]) if match else 0
        killed_by = -code if code < 0 else code - SHELL_KILLED  # whether the shell became the stage or waited for it
        if killed_by > 0:
            reason = f"killed by {signal.Signals(killed_by).name}"
        elif told := error_told(list(self._own)):
            reason = told
        elif code:
            reason = f"{self._own[-1]} (exit code {code})"
        else:
            reason = self._dvc or "dvc ended without a message"
        return StageError(self.stage, reason, bad_input=code == BAD_INPUT, hindered=killed_by > 0 or not code)


class ProgressFile:
    """The JSON lines that a stage appends to the file named in `DCUBE_PROGRESS_FILE`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

    def newest(self) -> dict[str, Any] | None:
        """The last whole record since the last look."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            file.seek(self._position)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._position += len(whole) + len(newline)
        return json.loads(whole.splitlines()[-1]) if whole else None


def _environment(additions: dict[str, str], folder: Path, progress_file: Path) -> dict[str, str]:
    """The code of the working copy goes before what is installed, which may be another revision."""
    own = {
        **own_code_first(folder),
        "PYTHONUNBUFFERED": "1",
        "DCUBE_PROGRESS_FILE": str(progress_file),
    }
    return os.environ | own | additions


def _output(process: subprocess.Popen[bytes]) -> Iterator[list[str]]:
    """The lines written since the last look, until the process has ended, even if a child still holds the pipe."""
    assert process.stdout
    with process.stdout as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        rest = ""
        while True:
            ended = process.poll() is not None
            ready = selector.select(0 if ended else SECONDS_BETWEEN_LOOKS)
            chunk = os.read(pipe.fileno(), 2**16) if ready else b""
            *lines, rest = re.split(r"[\r\n]+", rest + chunk.decode("utf-8", errors="replace"))
            yield [line for line in lines if line.strip()]
            if (ready and not chunk) or (ended and not ready):
                yield [rest] if rest.strip() else []
                return
