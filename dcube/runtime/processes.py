"""Child processes: their environment, and their end together with all processes that they started."""

import atexit
import gc
import getpass
import io
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

GRACE_SECONDS = 8.0  # between SIGTERM and SIGKILL, for an orderly end
FONTS = Path(__file__).with_name("matplotlibrc")
NEW_OBJECTS = 100_000  # new objects before the garbage collector runs
LOCAL = ("localhost", "127.0.0.1", "::1")
NO_TELEMETRY = {  # runs on medical data must not send usage reports
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # DO_NOT_TRACK has to be "true" for MLflow, and "1" for others
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def child_environment(
    variables: Mapping[str, str] = MappingProxyType({}), code: Path | None = None, without: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return the environment of a child process: this process's, with this Python first in PATH, and `variables`.

    Args:
        code: working copy whose code takes precedence over installed packages.
        without: prefixes of the names of variables that the child does not inherit.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    paths = {"PATH": _first(Path(sys.executable).parent, os.environ.get("PATH", os.defpath))}
    if code:
        paths["PYTHONPATH"] = _first(code, os.environ.get("PYTHONPATH", ""))
    return {**inherited, **NO_TELEMETRY, **_completed(), **paths, **variables}


def prepare_process() -> None:
    """Prepare the process for a command, before its slow imports: environment, output, garbage collector, warnings.

    Output that is redirected to a file or a pipe is written line by line, so that a log can be followed.

    Imports create a million objects, none of which is garbage. Scanning them again and again, and once more at the
    end, would take a third of the time of a short command.
    """
    os.environ.update(NO_TELEMETRY | _completed())
    os.environ.setdefault("MATPLOTLIBRC", str(FONTS))
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it warns of each font that is missing
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(_spare_last_collection)
    # Filters are set for the whole process, because images are read in threads. Bad images get errors of our own.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


def _spare_last_collection() -> None:
    gc.disable()
    if "triton" not in sys.modules:  # it would report what is not collected as leaks
        gc.freeze()


def _completed() -> dict[str, str]:
    """Return missing variables: no proxy for this machine's servers, and a user name, which containers may lack."""
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
    """Start a process that ends with the block, together with all processes that it started.

    `options` are those of `subprocess.Popen`.
    """
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
            # Polling also collects the ended process; otherwise the reaper would still see it as a zombie.
            END_OF_PROCESS.wait_until(lambda: process.poll() is not None and at_end.poll() is not None)


def _first(folder: Path, path: str) -> str:
    others = [other for other in path.split(os.pathsep) if other and other != str(folder)]
    return os.pathsep.join([str(folder), *others])


def _reaper(mark: str) -> subprocess.Popen[bytes]:
    """Start `dcube.runtime.reaper` for the mark. It acts when its standard input closes, also by our death."""
    command = [sys.executable, "-P", reaper.__file__, mark, str(GRACE_SECONDS)]
    environment = child_environment(without=(reaper.MARK,))
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
