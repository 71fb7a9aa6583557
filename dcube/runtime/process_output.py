"""Output and progress of a child process, followed while it runs."""

import logging
import os
import re
import selectors
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from dcube.artifacts.schemas.progress import ProgressUpdate
from dcube.errors import DcubeError
from dcube.runtime.processes import process_group
from dcube.runtime.settings import variable_of

POLL_SECONDS = 0.5
LARGEST_READ = 2**16
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # programs print it into a pipe, too, if FORCE_COLOR is set
PROGRESS_FILE = variable_of("progress_file")

logger = logging.getLogger(__name__)


class ProgressFile:
    """The file named in `DCUBE_PROGRESS_FILE`, to which a process appends progress updates as JSON lines.

    Args:
        on_progress: called with the newest update.
    """

    def __init__(self, path: Path, on_progress: Callable[[ProgressUpdate], None]) -> None:
        self.path, self.on_progress = path, on_progress
        self._position = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)

    def read(self) -> None:
        """Report the last complete update since the previous call, if there is one."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._position)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._position += len(whole) + len(newline)
        if whole and (update := self._parsed(whole.splitlines()[-1])):
            self.on_progress(update)

    def _parsed(self, line: bytes) -> ProgressUpdate | None:
        """Parse an update; return None for another format, because a workspace may run another commit's code."""
        try:
            return ProgressUpdate.parse(line.decode("utf-8", errors="replace"), str(self.path))
        except DcubeError as error:
            logger.debug("no progress is shown: %s", error)
            return None


def follow(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    on_line: Callable[[str], None],
    progress: ProgressFile | None = None,
) -> int:
    """Run a command in `folder`, and call `on_line` with every line that it prints, without colours.

    All processes of the command end with this call, also if it ends with an exception.

    Returns:
        The exit code.
    """
    environment = environment | ({PROGRESS_FILE: str(progress.path)} if progress else {})
    with process_group(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for lines in _lines(process):
            for line in lines:
                on_line(COLOUR.sub("", line))
            if progress:
                progress.read()
        return process.wait()


def _lines(process: subprocess.Popen[bytes]) -> Iterator[list[str]]:
    """Yield the new lines at intervals until the process has ended, even if a child still has the pipe open."""
    assert process.stdout
    with process.stdout as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        rest = ""
        while True:
            ended = process.poll() is not None
            ready = selector.select(0 if ended else POLL_SECONDS)
            chunk = os.read(pipe.fileno(), LARGEST_READ) if ready else b""
            *lines, rest = re.split(r"[\r\n]+", rest + chunk.decode("utf-8", errors="replace"))
            yield [line for line in lines if line.strip()]
            if (ready and not chunk) or (ended and not ready):
                yield [rest] if rest.strip() else []
                return
