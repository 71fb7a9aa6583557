"""A process that has imported the slow libraries, and forks for every stage of one `dvc repro`, flow run or study.

PyTorch, timm and MLflow take seconds to import, and a pipeline has more than a dozen stages, each a process of its own.
The first stage starts the server, which ends with DVC, or with the flow or study that runs DVC again and again. No code
that a stage depends on is imported before the fork, so that every stage runs the code as it then is.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dcube.runtime import reaper
from dcube.runtime.processes import GRACE_SECONDS, child_environment, prepare_process

LIBRARIES = (
    "diffusers.schedulers", "matplotlib.figure", "mlflow", "pandas", "pydantic_settings", "ruamel.yaml", "scipy.stats",
    "sklearn.linear_model", "sklearn.metrics", "timm", "torch", "torchmetrics.image.kid", "torchvision",
)  # fmt: skip
OWNER = "DCUBE_STAGE_OWNER"  # as in `dcube.runtime.settings`, which is slow to import
FOLDER = Path(".dvc/tmp")  # of the working copy, in which DVC starts stages
OUTPUTS = (1, 2)  # file descriptors
INTERRUPTIONS: dict[signal.Signals, Any] = {
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}  # and how a stage handles them


class _Job(NamedTuple):
    """A stage's command, as its process received it."""

    words: list[str]
    environment: dict[str, str]
    outputs: list[int]


# --- in the process that DVC starts


def connect() -> socket.socket | None:
    """Connect to the server, and start it if there is none. Return None if this process has to run the stage itself.

    That is so if a person or torchrun started it and not DVC, and where the system or the disk lacks what is needed:
    macOS has no `pidfd_open`, for example.
    """
    environment = child_environment()
    if "DVC_STAGE" not in environment or "TORCHELASTIC_RUN_ID" in environment:
        return None
    owner = environment.get(OWNER, str(os.getppid()))
    address = str(FOLDER / f"forkserver-{owner}")
    connection = socket.socket(socket.AF_UNIX)
    try:
        os.close(os.pidfd_open(int(owner)))
        try:
            connection.connect(address)
        except OSError:
            _start(address, owner)
            connection.connect(address)
    except (AttributeError, OSError):
        return None
    return connection


def run(words: list[str], connection: socket.socket) -> int:
    """Let the server run a stage, and return the exit code. A signal that ended the stage ends this process too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the stage itself
    with connection, connection.makefile() as answers:
        socket.send_fds(connection, [b"\0"], OUTPUTS)
        connection.sendall(json.dumps([words, child_environment()]).encode() + b"\n")
        signal.signal(signal.SIGTERM, lambda *_: connection.shutdown(socket.SHUT_WR))  # the stage ends in order
        code = int(answers.readline() or -signal.SIGKILL)
    if code < 0:
        for number in INTERRUPTIONS:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _start(address: str, owner: str) -> None:
    Path(address).unlink(missing_ok=True)  # of a process that had the same number
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        Path(address).chmod(0o600)
        listening.listen()
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(listening.fileno()), owner],
            env=child_environment(without=(reaper.MARK,)),  # it outlives the DVC of one stage
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


# --- in the server


def serve(listening: socket.socket, owner: int) -> NoReturn:
    """Fork for every stage, and end with the process `owner`.

    Args:
        owner: file descriptor of the process.
    """
    for number in INTERRUPTIONS:  # a stage is told, and its exit code reported
        signal.signal(number, signal.SIG_IGN)
    _import_libraries()
    while owner not in wait([listening, owner]):
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):  # of a connection whose process has ended
            if job := _received(connection):
                connection.sendall(f"{_exit_code(job, connection, owner)}\n".encode())
    Path(listening.getsockname()).unlink(missing_ok=True)
    os._exit(0)  # at once: an orderly end would look for garbage in a million objects


def _import_libraries() -> None:
    for library in LIBRARIES:
        with contextlib.suppress(Exception):  # the stage that needs it reports the error
            import_module(library)


def _received(connection: socket.socket) -> _Job | None:
    """Receive a job; None if its process ended before it had sent it."""
    _, outputs, _, _ = socket.recv_fds(connection, 1, len(OUTPUTS))
    with connection.makefile() as lines:
        line = lines.readline()
    if not line.endswith("\n"):
        return None
    words, environment = json.loads(line)
    return _Job(words, environment, outputs)


def _exit_code(job: _Job, connection: socket.socket, owner: int) -> int:
    """Run a stage in a fork that ends with the processes it works for; return its exit code, or -N after signal N."""
    stage = get_context("fork").Process(target=_run, args=[job])
    stage.start()
    for output in job.outputs:
        os.close(output)
    if stage.sentinel not in wait([stage.sentinel, connection, owner]):
        stage.terminate()
        stage.join(GRACE_SECONDS)
        stage.kill()
    stage.join()
    assert stage.exitcode is not None
    return stage.exitcode


# --- in a fork of it


def _run(job: _Job) -> None:
    """Run a stage with the outputs, environment and command line of the process that DVC started."""
    for number, handler in INTERRUPTIONS.items():
        signal.signal(number, handler)
    for output, own in zip(job.outputs, OUTPUTS, strict=True):
        os.dup2(output, own)
        os.close(output)
    sys.stdout, sys.stderr = (os.fdopen(own, "w", buffering=1, closefd=False) for own in OUTPUTS)
    os.environ.clear()
    os.environ.update(job.environment)
    from dcube.stages.process.command import main

    main(*job.words)


if __name__ == "__main__":
    prepare_process()
    serve(socket.socket(fileno=int(sys.argv[1])), os.pidfd_open(int(sys.argv[2])))
