"""The servers under supervisord, which starts each again when it ends, rotates its log, and ends all in order."""

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

STACK_VARIABLE = "DCUBE_STACK"  # the folder, in the environment of supervisord and of everything below it
NOT_INHERITED = ("PREFECT_", "MLFLOW_", "_MLFLOW_", "AWS_", "RCLONE_", "PG")  # settings of a person's own servers

# Paths are relative to the folder that supervisord runs in. It opens no port, but a socket for its owner alone, in a
# folder of its own: the path of a socket must be short.
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
# A server that ends within `startsecs` counts as not started: the pause before each retry grows by a second.
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
    """A program of supervisord's.

    Attributes:
        name: of the program and of its log.
        command: carries no secret: every user of the machine sees it in `ps`.
        environment: on top of this process's own, without the settings of other servers.
        is_healthy: whether it answers.
        prepare: makes what it needs on disk.
        directory: that it runs in; the platform's folder by default.
        stop_signal: what asks it to end.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    is_healthy: Callable[[], bool]
    prepare: Callable[[], object] = bool
    directory: Path | None = None
    stop_signal: str = "TERM"


@dataclass(frozen=True)
class Supervisor:
    """A running supervisord in `folder`, controlled over its `socket`."""

    folder: Path
    socket: Path
    process: "Popen[bytes]"

    @property
    def rpc(self) -> Any:
        # A new connection each time: one that has failed once stays failed.
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
        """Start them all at once; return as soon as every one is healthy."""
        for server in servers:
            server.prepare()
            self.rpc.startProcess(server.name, False)
        for server in servers:
            self._wait_until_healthy(server)

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
        """Print what supervisord reports from now on, until it ends."""
        with log_file(self.folder, "supervisord").open() as log:
            log.seek(0, os.SEEK_END)

            def has_ended() -> bool:
                print(log.read(), end="", flush=True)
                return self.process.poll() is not None

            END_OF_PROCESS.wait_until(has_ended)


@contextmanager
def supervised(folder: Path, servers: list[Server]) -> Iterator[Supervisor]:
    """supervisord in `folder`, ready to start these servers; they end in the opposite order."""
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
    """Of supervisord; it ends programs in the order of falling priority."""
    programs = [
        PROGRAM.format(name=server.name, priority=priority, stop_signal=server.stop_signal)
        for priority, server in enumerate(servers)
    ]
    return "".join([CONFIG.format(user=os.geteuid(), socket=socket), *programs])


def environment_of(folder: Path) -> dict[str, str]:
    return child_environment({"PYTHONUNBUFFERED": "1", STACK_VARIABLE: str(folder)}, without=NOT_INHERITED)


def processes_of(folder: Path) -> list[psutil.Process]:
    """supervisord in `folder` and everything below it, whoever is its parent by now."""
    return processes_marked(str(folder), STACK_VARIABLE)


def wait_for_reapers(folder: Path) -> None:
    """After a SIGKILL of the whole, its reapers end the servers: return when they have."""
    END_OF_SERVERS.wait_until(lambda: not processes_of(folder))


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
