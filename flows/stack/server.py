"""One server as one process group: started, asked whether it is healthy, ended whole, started again."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dcube.errors import DcubeError
from dcube.runtime.processes import process_group
from flows.stack.settings import HOST

SECONDS_TO_START = 120.0
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_END = 20.0  # a flow that is told to end ends its stage first, and then reports
MARK = "DCUBE_STACK"  # in the environment of a server and of everything that it starts
NOT_INHERITED = ("PREFECT_", "MLFLOW_", "_MLFLOW_", "AWS_", "RCLONE_", "PG")  # settings of a person's own servers


@dataclass
class Server:
    """A process of the platform. As a context manager: healthy inside, gone afterwards.

    Attributes:
        name: for people.
        folder: of the platform; together with the name it marks the server's processes.
        command: carries no secret: every user of the machine sees it in `ps`.
        environment: on top of this process's own, without the settings of other servers.
        healthy: whether it answers.
        log: file that its output is added to.
        prepare: makes what it needs on disk, before each start.
        port: that it listens on.
        option: of `python -m flows.stack` that chooses the port.
        directory: that it runs in.
        end_signal: what it is asked to end with.
    """

    name: str
    folder: Path
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    healthy: Callable[[], bool]
    log: Path
    prepare: Callable[[], object] = bool
    port: int | None = None
    option: str = ""
    directory: Path | None = None
    end_signal: signal.Signals = signal.SIGTERM
    process: "subprocess.Popen[bytes] | None" = None
    _until_end: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Server":
        self.start()
        try:
            self.wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start without waiting, after ending what a dead predecessor or a killed platform has left running."""
        self.stop()
        self.refuse_taken_port()
        self.prepare()
        with self.log.open("ab") as log:
            group = process_group(
                self.command, env=self.full_environment(), cwd=self.directory, stdout=log, stderr=subprocess.STDOUT
            )
            self.process = self._until_end.enter_context(group)

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not self.is_healthy():
            if not self.is_running() or time.monotonic() > deadline:
                raise DcubeError(f"{self.name} did not start: {self.last_line()} (all of it: {self.log})")
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_healthy(self) -> bool:
        return self.is_running() and self.healthy()

    def stop(self) -> None:
        """Ask it to end, then make it, with everything that it has started."""
        if self.process is not None and self.is_running():
            self.process.send_signal(self.end_signal)
            try:
                self.process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._until_end.close()
        self.end_leftovers()

    def kill(self) -> None:
        """End it without a word, as a crash would: for tests."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end_leftovers(self) -> None:
        """Ask every process that carries this server's mark to end, then make it."""
        deadline = time.monotonic() + SECONDS_TO_END
        asked: set[int] = set()
        while left := marked_processes(self.mark):
            late = time.monotonic() > deadline
            for process in left:
                if late or process.pid not in asked:
                    asked.add(process.pid)
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGKILL if late else self.end_signal)
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def refuse_taken_port(self) -> None:
        if self.port is None:
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are ending do not count
            try:
                probe.bind((HOST, self.port))
            except OSError:
                mend = f"end what listens there, or choose another: {self.option}"
                raise DcubeError(f"port {self.port} of {self.name} is taken: {mend}") from None

    @property
    def mark(self) -> str:
        return f"{self.folder}:{self.name}"

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def full_environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        return inherited | {"PYTHONUNBUFFERED": "1", "DO_NOT_TRACK": "1"} | self.environment | {MARK: self.mark}


def marked_processes(mark: str) -> list[psutil.Process]:
    """Processes started for the server with this mark, whoever is their parent by now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found
