"""Processes that end whole, with everything that they started, even if their starter is killed."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dcube.runtime import reaper

GRACE_SECONDS = 8.0  # to close what is open, between SIGTERM and SIGKILL
SECONDS_BETWEEN_LOOKS = 0.05


@contextmanager
def process_group(
    command: list[str], env: dict[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and all that it started with it; `options` as of `subprocess.Popen`."""
    mark = uuid.uuid4().hex
    environment = {**(os.environ if env is None else env), reaper.MARK: mark}
    with _ender(mark) as ender:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        try:
            yield process
        finally:
            assert ender.stdin
            ender.stdin.close()
            while ender.poll() is None:
                process.poll()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            process.wait()


def own_code_first(folder: Path) -> dict[str, str]:
    """Variables by which a process runs this Python, and the code in `folder` before what is installed."""
    paths = {
        "PATH": (Path(sys.executable).parent, os.environ.get("PATH", os.defpath)),
        "PYTHONPATH": (folder, os.environ.get("PYTHONPATH")),
    }
    return {key: os.pathsep.join(str(path) for path in both if path) for key, both in paths.items()}


def _ender(mark: str) -> subprocess.Popen[bytes]:
    """Runs `dcube.runtime.reaper` for the mark once our end of its standard input closes, whoever closes it."""
    own = {key: value for key, value in os.environ.items() if key != reaper.MARK}
    command = [sys.executable, "-P", reaper.__file__, mark, str(GRACE_SECONDS)]
    return subprocess.Popen(command, env=own, stdin=subprocess.PIPE, start_new_session=True)
