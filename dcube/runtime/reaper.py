"""Ends every process that carries a mark. A program of its own, which outlives whoever started it.

It waits until its standard input closes, because its starter has closed it or has died, by SIGKILL too. Every process
with the mark in its environment gets SIGTERM, then SIGKILL, whatever session or group it has moved to (torchrun's
workers have their own). Imports nothing of this package, which may be another revision's.
"""

import os
import sys
import time
from contextlib import suppress

import psutil

MARK = "DCUBE_PROCESS_MARK"
POLL_SECONDS = 0.1


def processes_marked(mark: str, variable: str = MARK) -> list[psutil.Process]:
    """All other processes of this user with that value of the environment variable; ended ones do not count."""
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
