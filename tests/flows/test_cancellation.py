"""A run that somebody suspends, and so cancels, on a real Prefect server."""

import os
import sys
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Suspended

from dcube.config.schema import Params
from dcube.runtime.processes import process_group
from flows.automations import automations
from flows.prefect_api import create_or_update
from tests.support.checkout import ROOT
from tests.support.small_pipeline import HANG, assert_gone, rewrite, workspaces
from tests.support.waiting import wait_until

SERVE = """
import time
from pathlib import Path
from prefect import flow, serve
from flows.pipeline import pipeline

@flow
def promote(file: str) -> None:
    Path(file).touch()
    time.sleep(600)

if __name__ == "__main__":
    serve(*(one.to_deployment("suspended", tags=["dcube"]) for one in (pipeline, promote)), pause_on_shutdown=False)
"""


@pytest.mark.slow
def test_suspended_training_is_cancelled_and_leaves_no_workspace(prefect_server, repository, tmp_path):
    for one in automations(uuid4()):
        if "suspended" in one.name:
            create_or_update(one)
    rewrite(repository, "stage.py", "import json,", HANG)
    (tmp_path / "serve.py").write_text(SERVE)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }  # fmt: skip
    pids, waits = tmp_path / "pids.txt", tmp_path / "waits"
    with process_group([sys.executable, str(tmp_path / "serve.py")], env=environment):
        training = start("pipeline", params=Params().model_dump(mode="json"), targets=["train"])
        approval = start("promote", file=str(waits))
        wait_until(lambda: waits.exists() and pids.exists() and bool(pids.read_text()))
        with get_client(sync_client=True) as client:
            assert [folder.name for folder in workspaces(repository)] == [str(training)]
            for run in (approval, training):
                client.set_flow_run_state(run, Suspended())
            wait_until(lambda: client.read_flow_run(training).state_name == "Cancelled")
            assert client.read_flow_run(approval).state_name == "Suspended"
        assert_gone(pids)
        assert workspaces(repository) == []
    with get_client(sync_client=True) as client:
        for flow in ("pipeline", "promote"):
            client.delete_deployment(deployments()[f"{flow}/suspended"])  # other tests use this server


def start(flow: str, **parameters: object) -> UUID:
    wait_until(lambda: f"{flow}/suspended" in deployments())
    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(deployments()[f"{flow}/suspended"], parameters=parameters).id


def deployments() -> dict[str, UUID]:
    with get_client(sync_client=True) as client:
        flows = {one.id: one.name for one in client.read_flows()}
        return {f"{flows[one.flow_id]}/{one.name}": one.id for one in client.read_deployments()}
