"""`python -m flows.stack`: the platform, from its first server to its last."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from dcube.errors import DcubeError, one_line_errors
from dcube.repository.commands import repository_around
from flows.stack.mlflow_server import mlflow_server
from flows.stack.postgres import postgres
from flows.stack.prefect_server import prefect_server
from flows.stack.s3 import s3
from flows.stack.settings import ADMINISTRATOR, Ports, Stack
from flows.stack.supervision import kept_running, started
from flows.stack.worker import POOL, worker

DEFAULT = Ports()


def main(
    mlflow_port: Annotated[int, typer.Option(envvar="DCUBE_MLFLOW_PORT")] = DEFAULT.mlflow,
    prefect_port: Annotated[int, typer.Option(envvar="DCUBE_PREFECT_PORT")] = DEFAULT.prefect,
    s3_port: Annotated[int, typer.Option(envvar="DCUBE_S3_PORT")] = DEFAULT.s3,
    postgres_port: Annotated[int, typer.Option(envvar="DCUBE_POSTGRES_PORT")] = DEFAULT.postgres,
    folder: Annotated[Path | None, typer.Option(help="Where its data are (default: .dcube/stack here).")] = None,
) -> None:
    """PostgreSQL, an S3 server, MLflow, Prefect and one worker on this machine, until Ctrl-C."""
    with one_line_errors():
        repository = repository_around(Path.cwd())
        place = (folder or repository / ".dcube/stack").absolute()
        place.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _end)
        try:
            with FileLock(place / "lock", timeout=0):
                ports = Ports(mlflow=mlflow_port, prefect=prefect_port, s3=s3_port, postgres=postgres_port)
                run(Stack.at(place, ports), repository)
        except Timeout:
            raise DcubeError(f"a platform runs in {place} already: end it first, or choose another --folder") from None


def run(stack: Stack, repository: Path) -> None:
    """Start everything, say where it is, and keep it running until a signal."""
    began = time.monotonic()
    data, services, workers = (
        [postgres(stack), s3(stack)],
        [mlflow_server(stack), prefect_server(stack)],
        [worker(stack, repository)],
    )
    servers = [*data, *services, *workers]
    for server in reversed(servers):
        server.end_leftovers()
    for server in servers:
        server.refuse_taken_port()
    with ExitStack() as until_end:
        until_end.callback(say, "ended")
        say("starts PostgreSQL and S3, then MLflow and Prefect …")
        until_end.enter_context(started(data))
        until_end.enter_context(started(services))
        set_up(stack, repository)
        until_end.enter_context(started(workers))
        environment = stack.write_environment()
        print(summary(stack, environment, time.monotonic() - began), flush=True)
        until_end.callback(say, "ends the worker, then the servers …")
        until_end.enter_context(kept_running(servers, say))
        while True:
            signal.pause()


def set_up(stack: Stack, repository: Path) -> None:
    """Create the work pool, the limits, the automations and the deployments, as any team's administrator would."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.deploy"],
        env=os.environ | stack.client,
        cwd=repository,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    stack.log("setup").write_text(done.stdout)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise DcubeError(f"the deployments could not be made: {last} (all of it: {stack.log('setup')})")


def summary(stack: Stack, environment: Path, seconds: float) -> str:
    return f"""
The platform is ready after {seconds:.0f} s. Ctrl-C ends it.

  Prefect     {stack.prefect_address}   sign in with the value of PREFECT_API_AUTH_STRING
  MLflow      {stack.mlflow_address}   user {ADMINISTRATOR}, password MLFLOW_TRACKING_PASSWORD
  S3          {stack.storage["AWS_ENDPOINT_URL"]}   keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
  worker      one, of the work pool {POOL}; what its runs print: {stack.log("worker")}

  The values stand in {environment}; to use the servers from another terminal:
      source {environment}
  Data and logs: {stack.folder}
"""


def say(line: str) -> None:
    print(f"stack: {line}", flush=True)


def _end(*_: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # ending is under way and takes seconds: a second Ctrl-C must not cut it
    raise SystemExit(0)


if __name__ == "__main__":
    command = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    command.command()(main)
    command()
