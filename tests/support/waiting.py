"""Waiting for what happens in other processes; what does not happen in time fails the test."""

import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any


def wait_until(true: Callable[[], bool], seconds: float = 300, pause: float = 0.2) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(pause)


def wait_for_server(process: subprocess.Popen[Any], address: str) -> None:
    """Wait until `process` answers at this address."""

    def is_ready() -> bool:
        assert process.poll() is None
        try:
            urllib.request.urlopen(address, timeout=5)
        except OSError:
            return False
        return True

    wait_until(is_ready, seconds=400, pause=0.1)
