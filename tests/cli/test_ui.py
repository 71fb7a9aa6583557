"""`dcube ui`: the versions that its addresses compare, and its MLflow server."""

import json
import os
import sys
from urllib.parse import parse_qs

import httpx
import psutil
import pytest

from dcube.artifacts.layout import REGISTERED, VERSIONS
from dcube.artifacts.schemas.registered import Registered
from dcube.cli.ui import addresses
from dcube.registry.versions import CHAMPION, RegisteredModel
from dcube.runtime.ports import free_port
from dcube.runtime.processes import process_group
from dcube.tracking import tags
from dcube.tracking.mlflow_client import tracking_client
from tests.support.checkout import ROOT
from tests.support.waiting import wait_for_server

NAME = "dcube-discs"


@pytest.fixture
def registered_model(tracking_address, tmp_path, monkeypatch):
    """Versions 1 to 9 of the pipelines `a` to `i`, version 10 of `i`, and version 11 without a run."""
    monkeypatch.chdir(tmp_path)
    registered_model = RegisteredModel.created(tracking_client(), NAME)
    for pipeline in (*"abcdefghi", "i"):
        run = registered_model.client.create_run("0", tags={tags.PIPELINE: pipeline})
        registered_model.client.create_model_version(NAME, "file:///elsewhere", run.info.run_id)
    registered_model.client.create_model_version(NAME, "file:///elsewhere")
    registered_model.client.set_registered_model_alias(NAME, CHAMPION, "2")
    return registered_model


def compared(registered_model: RegisteredModel) -> list[str]:
    lines = dict(line.split(":", 1) for line in addresses(registered_model, "http://127.0.0.1:1"))
    assert "experiments/0/runs" in lines["pipelines"] and "experiments/0/models" in lines["models"]
    (runs,) = parse_qs(lines["compared"].partition("?")[2])["runs"]
    assert all(json.loads(runs).values()), "a version without a run cannot be compared"
    return [*json.loads(runs)]


def test_newest_pipeline_is_shown_beside_the_champion(registered_model):
    assert compared(registered_model) == ["2", "10", "9"]


def test_versions_registered_by_the_working_copy_are_shown_if_it_has_any(registered_model):
    names = dict(zip("abcdefg", (1, 3, 4, 5, 6, 7, 8), strict=True))
    REGISTERED.mkdir(parents=True)
    Registered(name=NAME, versions=names, aliases={}, challenger="g").save(REGISTERED / VERSIONS)
    assert compared(registered_model) == ["2", "8", "7", "6", "5", "4"]
    Registered(name="another", versions=names, aliases={}, challenger="g").save(REGISTERED / VERSIONS)
    assert compared(registered_model) == ["2", "10", "9"]


@pytest.mark.slow
def test_ui_starts_for_one_person_without_activated_environment(tracking_address, tmp_path):
    port = free_port()
    environment = os.environ | {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dcube.cli", "ui", "--port", str(port)]
    output = tmp_path / "output.txt"
    with output.open("w") as file, process_group(command, env=environment, stdout=file, stderr=file) as process:
        wait_for_server(process, f"http://127.0.0.1:{port}/health")
        server = psutil.Process(process.pid)
        commands = [one.cmdline() for one in (server, *server.children(recursive=True))]
        assert "uvicorn" in commands[0] and tracking_address not in str(commands)
        pages = f"http://127.0.0.1:{port}"
        assert "<title>MLflow</title>" in httpx.get(pages).text
        found = httpx.get(f"{pages}/api/2.0/mlflow/experiments/search", params={"max_results": 9})
        assert found.is_success and found.json()["experiments"]
        assistant = f"{pages}/ajax-api/3.0/mlflow/assistant"
        assert httpx.put(f"{assistant}/config", json={}).status_code == 403
        assert httpx.post(f"{assistant}/message", json={"message": "x"}).status_code == 403
        assert httpx.get(f"{pages}/api/3.0/mlflow/gateway/secrets/list").status_code == 501
    assert "Uvicorn running" in output.read_text() and "Warning" not in output.read_text()
