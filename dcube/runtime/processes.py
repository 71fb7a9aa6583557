"""Child processes: their environment, and that they end whole, with everything that they started."""

import atexit
import gc
import getpass
import logging
import os
import subprocess
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dcube.runtime import reaper

GRACE_SECONDS = 8.0  # to close what is open, between SIGTERM and SIGKILL
FONTS = Path(__file__).with_name("matplotlibrc")
NEW_OBJECTS = 100_000  # before the garbage collector looks for cycles
# Runs over medical data report to nobody.
LOCAL = ("localhost", "127.0.0.1", "::1")
NO_TELEMETRY = {
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # DO_NOT_TRACK has to be "true" for MLflow, and "1" for others
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def child_environment(
    variables: Mapping[str, str] = MappingProxyType({}), code: Path | None = None, without: tuple[str, ...] = ()
) -> dict[str, str]:
    """The environment of a child process: this one's, with this Python before others, and `variables`.

    Args:
        code: a working copy whose code the child runs before what is installed.
        without: beginnings of the names that the child does not inherit.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    paths = {"PATH": _first(Path(sys.executable).parent, os.environ.get("PATH", os.defpath))}
    if code:
        paths["PYTHONPATH"] = _first(code, os.environ.get("PYTHONPATH", ""))
    return {**inherited, **NO_TELEMETRY, **_completed(), **paths, **variables}


def prepare_process() -> None:
    """What a command begins with, before its heavy imports: what a machine may lack, and programs and libraries need.

    Libraries make a million objects while they are imported, and none of them is garbage. To look through them again
    and again, and once more at the end, takes a fifth of the time of a short command.
    """
    os.environ.update(NO_TELEMETRY | _completed())
    os.environ.setdefault("MATPLOTLIBRC", str(FONTS))
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # names each font that is not installed
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.disable)
    # Of the whole process, since filters are: images are read in threads. What is too large is refused in one line.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")  # damage is refused in one line too


def _completed() -> dict[str, str]:
    """No proxy (`HTTP_PROXY`) can reach the servers of this machine; an account in a container may have no name."""
    known = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")).split(",")
    names = ",".join(dict.fromkeys(filter(None, [*(name.strip() for name in known), *LOCAL])))
    added = {} if "*" in known else {"NO_PROXY": names, "no_proxy": names}  # `*`: no proxy at all
    try:
        getpass.getuser()
    except (KeyError, OSError):
        added["USER"] = f"user-{os.getuid()}"
    return added


@contextmanager
def process_group(
    command: list[str], env: dict[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and all that it started with it; `options` as of `subprocess.Popen`."""
    from dcube.runtime.retries import END_OF_PROCESS  # slow to import

    mark = uuid.uuid4().hex
    environment = (child_environment() if env is None else env) | NO_TELEMETRY | {reaper.MARK: mark}
    with _reaper(mark) as at_end:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        try:
            yield process
        finally:
            assert at_end.stdin
            at_end.stdin.close()
            # The process is collected meanwhile, so that the reaper sees it gone.
            END_OF_PROCESS.wait_until(lambda: process.poll() is not None and at_end.poll() is not None)


def _first(folder: Path, path: str) -> str:
    others = [other for other in path.split(os.pathsep) if other and other != str(folder)]
    return os.pathsep.join([str(folder), *others])


def _reaper(mark: str) -> subprocess.Popen[bytes]:
    """Runs `dcube.runtime.reaper` for the mark once our end of its standard input closes, whoever closes it."""
    command = [sys.executable, "-P", reaper.__file__, mark, str(GRACE_SECONDS)]
    environment = child_environment(without=(reaper.MARK,))
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
