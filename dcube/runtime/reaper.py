"""Separate program that ends all processes with a mark in their environment, and outlives its parent.

It waits until its standard input closes, because its parent closed it or died, also by SIGKILL. Then all processes with
the mark get SIGTERM and later SIGKILL, regardless of their session and process group (torchrun's workers have their
own). This file must not import anything from this package, because the installed package may be another revision.
"""

import os
import sys
import time
from contextlib import suppress

import psutil

MARK = "DCUBE_PROCESS_MARK"
POLL_SECONDS = 0.1


def processes_marked(mark: str, variable: str = MARK) -> list[psutil.Process]:
    """Return all other running processes of this user in which the environment variable has the value `mark`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(variable) == mark:
                found.append(process)
    return found


def end(mark: str, grace_seconds: float) -> None:
    for process in processes_marked(mark):
        with suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + grace_seconds
    while (left := processes_marked(mark)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    while left:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(POLL_SECONDS)
        left = processes_marked(mark)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(sys.argv[1], float(sys.argv[2]))
