"""A worker and its run, while the Prefect server is away."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from dcube.runtime.ports import free_port
from tests.support.checkout import ROOT
from tests.support.waiting import wait_for_server, wait_until

WAITING = """
import os, time
from pathlib import Path
from prefect import flow

folder = Path(os.environ["FOLDER"])

@flow
def waiting():
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.1)
"""
# Prefect's own worker ends with these after 12 failed requests in a row.
HASTY = {"PREFECT_CLIENT_MAX_RETRIES": "0", "PREFECT_WORKER_QUERY_SECONDS": "0.1"}


@contextmanager
def running(folder: Path, log: str, *words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module that runs until the end of the block, and is then killed with its children."""
    with (folder / log).open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=folder, env=os.environ | environment, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_worker_and_its_run_outlast_a_server_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(WAITING)
    port = free_port()
    address = f"http://127.0.0.1:{port}/api"
    serve = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    work = ("flows.worker", "start", "--pool", "gpu", "--type", "process", "--limit", "1")
    common = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": address, "PYTHONPATH": str(ROOT)}
    with ExitStack() as until_end:
        until_end.enter_context(temporary_settings({PREFECT_API_URL: address}))
        client = until_end.enter_context(get_client(sync_client=True))
        with running(tmp_path, "server.log", *serve, **common) as server:
            wait_for_server(server, f"{address}/ready")
            client.create_work_pool(WorkPoolCreate(name="gpu", type="process"))
            worker = until_end.enter_context(
                running(tmp_path, "worker.log", *work, **common, **HASTY, FOLDER=str(tmp_path))
            )
            run = begun(client, tmp_path)
        time.sleep(40)
        log = (tmp_path / "worker.log").read_text()
        assert worker.poll() is None and "The Prefect server does not answer" in log, log
        with running(tmp_path, "server.log", *serve, **common) as server:
            wait_for_server(server, f"{address}/ready")
            (tmp_path / "go").touch()
            wait_until(lambda: client.read_flow_run(run).state.is_final())
            ended = client.read_flow_run(run)
            assert ended.state.is_completed() and ended.run_count == 1
            begun(client, tmp_path)  # the worker takes runs again


def begun(client: SyncPrefectClient, folder: Path) -> UUID:
    """A run of the flow `waiting` that works. A busy server may refuse one to a worker that repeats no request."""

    def is_decided() -> bool:
        return marker.exists() or client.read_flow_run(run).state.is_final()

    marker = folder / "begun"
    marker.unlink(missing_ok=True)
    flow = client.create_flow_from_name("waiting")
    deployment = client.create_deployment(
        flow,
        "waiting",
        work_pool_name="gpu",
        path=str(folder),
        entrypoint="waiting.py:waiting",
        job_variables={"env": {"PREFECT_CLIENT_MAX_RETRIES": "8"}},  # as prefect.yaml has it
    )
    while not marker.exists():
        run = client.create_flow_run_from_deployment(deployment).id
        wait_until(is_decided)
    return run
