"""`dcube ui` as typed: a server of MLflow's pages."""

import os
import subprocess
import sys

import psutil
import pytest

from dcube.runtime.processes import process_group
from tests.support.checkout import ROOT
from tests.support.ports import free_port
from tests.support.waiting import wait_for_server


@pytest.mark.slow
def test_it_starts_without_an_activated_environment_and_shows_nobody_the_database(tracking_address):
    port = free_port()
    environment = os.environ | {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dcube.cli", "ui", "--port", str(port)]
    with process_group(command, env=environment, stdout=subprocess.DEVNULL) as process:
        wait_for_server(process, f"http://127.0.0.1:{port}/health")
        server = psutil.Process(process.pid)
        commands = [one.cmdline() for one in (server, *server.children(recursive=True))]
        assert "mlflow" in commands[0] and tracking_address not in str(commands)
