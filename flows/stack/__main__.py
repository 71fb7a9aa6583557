"""`python -m flows.stack`: start the whole platform, and keep it running."""

import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from dcube.data.readers.walking import given_path
from dcube.errors import DcubeError, one_line_errors
from dcube.repository.commands import repository_around
from dcube.runtime.processes import child_environment, prepare_process
from flows import POOL
from flows.stack.postgres import postgres
from flows.stack.servers import artifacts, mlflow, prefect, s3, worker
from flows.stack.settings import ACCOUNT, ADMINISTRATOR, HOST, Ports, Stack, log_file
from flows.stack.supervision import last_line, supervised, wait_for_reapers


def main(
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for the servers' data (default: .dcube/stack).", metavar="PATH", parser=given_path),
    ] = None,
) -> None:
    """Run PostgreSQL, an S3 server, MLflow, Prefect and one worker on this machine until Ctrl-C."""
    prepare_process()
    with one_line_errors():
        repository = repository_around(Path.cwd())
        stack = Stack.at(folder or repository / ".dcube/stack", Ports.configured())
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _end)
        try:
            with FileLock(stack.folder / "lock", timeout=0):
                run(stack, repository)
        except Timeout:
            raise DcubeError(
                f"a platform runs in {stack.folder} already: end it first, or choose another --folder"
            ) from None


def run(stack: Stack, repository: Path) -> None:
    """Start all servers, print their addresses, and keep them running until a signal."""
    began = time.monotonic()
    wait_for_reapers(stack.folder)
    for name, port in asdict(stack.ports).items():
        refuse_taken_port(name, port)
    data, services = [postgres(stack), s3(stack), artifacts(stack)], [mlflow(stack), prefect(stack)]
    runs = [worker(stack, repository)]
    print("stack: starts PostgreSQL and S3, then MLflow and Prefect …", flush=True)
    try:
        with supervised(stack.folder, [*data, *services, *runs]) as supervisor:
            supervisor.start(*data)
            supervisor.start(*services)
            set_up(stack, repository)
            supervisor.start(*runs)
            print(summary(stack, stack.write_environment(), time.monotonic() - began), flush=True)
            supervisor.follow()
            raise DcubeError(f"supervisord ended: see {log_file(stack.folder, 'supervisord')}")
    finally:
        print("stack: ended", flush=True)


def refuse_taken_port(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore connections in TIME_WAIT
        try:
            probe.bind((HOST, port))
        except OSError:
            mend = f"end what listens there, or set DCUBE_{name.upper()}_PORT"
            raise DcubeError(f"port {port} of {name} is taken: {mend}") from None


def set_up(stack: Stack, repository: Path) -> None:
    """Create the work pool, the deployments and the automations with `flows.deploy`."""
    log = log_file(stack.folder, "setup")
    with log.open("w") as output:
        code = subprocess.run(
            [sys.executable, "-m", "flows.deploy"],
            env=child_environment(stack.client),
            cwd=repository,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code:
        raise DcubeError(f"the deployments could not be created: {last_line(log)} (full log: {log})")


def summary(stack: Stack, environment: Path, seconds: float) -> str:
    return f"""
The platform is ready after {seconds:.0f} s. Ctrl-C ends it.

  Prefect     {stack.prefect_address}   sign in with the value of PREFECT_API_AUTH_STRING
  MLflow      {stack.mlflow_address}   user {ACCOUNT}, password MLFLOW_TRACKING_PASSWORD
  S3          {stack.storage["AWS_ENDPOINT_URL"]}   keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
  worker      one, of the work pool {POOL}; what its runs print: {log_file(stack.folder, "worker")}

  MLflow's administrator is {ADMINISTRATOR}, with mlflow_password in {stack.folder / "credentials.json"}.
  The values are in {environment}; to use the servers from another terminal:
      source {environment}
  Data and logs: {stack.folder}
"""


def _end(*_: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the shutdown, which takes seconds
    raise SystemExit(0)


if __name__ == "__main__":
    command = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    command.command()(main)
    with one_line_errors():
        command()
