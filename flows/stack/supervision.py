"""Servers under supervisord, which restarts them when they end, rotates their logs, and ends them in order."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from typing import Any
from xmlrpc.client import ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from dcube.errors import DcubeError
from dcube.runtime.processes import child_environment, process_group
from dcube.runtime.reaper import processes_marked
from dcube.runtime.retries import END_OF_PROCESS, END_OF_SERVERS, START_SERVER
from flows.stack.programs import PROGRAMS, Program, Programs
from flows.stack.settings import log_file, write_private

STACK_VARIABLE = "DCUBE_STACK"  # contains the folder, in the environment of supervisord and of all its descendants
NOT_INHERITED = ("PREFECT_", "MLFLOW_", "_MLFLOW_", "AWS_", "RCLONE_", "PG")  # settings of the user's other servers

# Paths are relative to supervisord's working directory. It opens no port, but a socket that only its owner can use. The
# socket is in a temporary folder, because its path must be short.
CONFIG = """\
[supervisord]
nodaemon = true
silent = true
user = {user}
logfile = logs/supervisord.log
pidfile = supervisord.pid

[unix_http_server]
file = {socket}

[supervisorctl]
serverurl = unix://{socket}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
# A server that ends within `startsecs` counts as not started, and the pause before each retry grows by a second.
PROGRAM = """
[program:{name}]
command = python -m flows.stack.program {name}
priority = {priority}
autostart = false
autorestart = true
startsecs = 20
startretries = 1000000
stopsignal = {stop_signal}
stopwaitsecs = 30
redirect_stderr = true
stdout_logfile = logs/{name}.log
stdout_logfile_maxbytes = 10MB
"""


@dataclass(frozen=True)
class Server:
    """A program that supervisord runs.

    Attributes:
        name: name of the program and of its log.
        command: command line; it must not contain secrets, because every user of the machine can see it in `ps`.
        environment: variables that are added to this process's environment without settings of other servers.
        is_healthy: function that returns whether the server answers.
        prepare: function that creates the server's files.
        complete: function that is called when the server is healthy, at each start of the platform.
        directory: working directory. None: the platform's folder.
        stop_signal: signal that ends the server.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    is_healthy: Callable[[], bool]
    prepare: Callable[[], object] = bool
    complete: Callable[[], object] = bool
    directory: Path | None = None
    stop_signal: str = "TERM"


@dataclass(frozen=True)
class Supervisor:
    """A running supervisord in `folder`, controlled through its `socket`."""

    folder: Path
    socket: Path
    process: "Popen[bytes]"

    @property
    def rpc(self) -> Any:
        # A new connection each time, because a failed connection cannot be used again.
        return ServerProxy("http://localhost", SupervisorTransport(serverurl=f"unix://{self.socket}")).supervisor

    def wait_until_ready(self) -> None:
        if not START_SERVER.wait_until(self._is_ready):
            raise DcubeError(f"supervisord did not start within {START_SERVER.timeout:.0f} s")

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise DcubeError(f"supervisord ended with exit code {self.process.returncode}")
        try:
            self.rpc.getState()
        except OSError:
            return False
        return True

    def start(self, *servers: Server) -> None:
        """Start all servers at the same time, and return when all are healthy."""
        for server in servers:
            server.prepare()
            self.rpc.startProcess(server.name, False)
        for server in servers:
            self._wait_until_healthy(server)
            server.complete()

    def _wait_until_healthy(self, server: Server) -> None:
        def is_healthy() -> bool:
            if server.is_healthy():
                return True
            if self.rpc.getProcessInfo(server.name)["stop"]:
                raise self._not_started(server)
            return False

        if not START_SERVER.wait_until(is_healthy):
            raise self._not_started(server)

    def _not_started(self, server: Server) -> DcubeError:
        log = log_file(self.folder, server.name)
        return DcubeError(f"{server.name} did not start: {last_line(log)} (full log: {log})")

    def follow(self) -> None:
        """Print new lines of supervisord's log until it ends."""
        with log_file(self.folder, "supervisord").open() as log:
            log.seek(0, os.SEEK_END)

            def has_ended() -> bool:
                print(log.read(), end="", flush=True)
                return self.process.poll() is not None

            END_OF_PROCESS.wait_until(has_ended)


@contextmanager
def supervised(folder: Path, servers: list[Server]) -> Iterator[Supervisor]:
    """Run supervisord in `folder` during the block, ready to start these servers. They end in the reverse order."""
    log_file(folder, "").parent.mkdir(exist_ok=True)
    programs = {
        server.name: Program(args=server.command, env=server.environment, cwd=str(server.directory or folder))
        for server in servers
    }
    write_private(folder / PROGRAMS, Programs(programs=programs).model_dump_json())
    command = [sys.executable, "-m", "supervisor.supervisord", "--configuration", "supervisord.conf"]
    with TemporaryDirectory(prefix="dcube-") as private:
        socket = Path(private) / "supervisord.sock"
        (folder / "supervisord.conf").write_text(configuration(socket, servers))
        with process_group(command, env=environment_of(folder), cwd=folder) as process:
            try:
                supervisor = Supervisor(folder, socket, process)
                supervisor.wait_until_ready()
                yield supervisor
            finally:
                process.terminate()
                process.wait()


def configuration(socket: Path, servers: list[Server]) -> str:
    """Return supervisord's configuration; it ends programs in the order of decreasing priority numbers."""
    programs = [
        PROGRAM.format(name=server.name, priority=priority, stop_signal=server.stop_signal)
        for priority, server in enumerate(servers)
    ]
    return "".join([CONFIG.format(user=os.geteuid(), socket=socket), *programs])


def environment_of(folder: Path) -> dict[str, str]:
    return child_environment({"PYTHONUNBUFFERED": "1", STACK_VARIABLE: str(folder)}, without=NOT_INHERITED)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return supervisord in `folder` and all its descendants, even if they have another parent by now."""
    return processes_marked(str(folder), STACK_VARIABLE)


def wait_for_reapers(folder: Path) -> None:
    """Wait until the reapers of an earlier platform, which was ended by SIGKILL, have ended its servers."""
    END_OF_SERVERS.wait_until(lambda: not processes_of(folder))


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
