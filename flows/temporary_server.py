"""Temporary Prefect server for one run, if no server is configured."""

import atexit
import subprocess
import sys
from contextlib import ExitStack

import httpx
from prefect.settings import PREFECT_API_URL, temporary_settings

from dcube.errors import DcubeError
from dcube.runtime import retries
from dcube.runtime.ports import free_port
from dcube.runtime.processes import process_group
from flows.prefect_api import health, require_server


def ensure_server() -> None:
    """Use the server of `PREFECT_API_URL`, or start one that ends with this program.

    Prefect's own ephemeral server ends on Ctrl-C before the run has reported its result, and survives a SIGTERM. This
    server is therefore started in a separate process group.
    """
    if PREFECT_API_URL.value():
        require_server()
        return
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    until_exit = ExitStack()
    atexit.register(until_exit.close)  # runs after Prefect's threads have sent their last logs and events
    process = until_exit.enter_context(process_group(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    _wait_until_healthy(process, address)
    until_exit.enter_context(temporary_settings({PREFECT_API_URL: address}))


def _wait_until_healthy(process: subprocess.Popen[bytes], address: str) -> None:
    def check() -> None:
        if process.poll() is not None:
            raise EndedError
        health(address).raise_for_status()

    try:
        retries.START_SERVER.retrying(httpx.HTTPError)(check)
    except (httpx.HTTPError, EndedError):
        raise DcubeError(
            "the temporary Prefect server did not start: try `prefect server start` and set PREFECT_API_URL"
        ) from None


class EndedError(Exception):
    """Raised when the server's process has ended."""
