"""`python -m flows.deploy`: create everything that runs need on the Prefect server. It can be repeated."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from dcube.errors import DcubeError, one_line_errors
from dcube.repository.commands import repository_around
from dcube.runtime.processes import child_environment, prepare_process
from dcube.runtime.settings import variable_of
from flows import POOL
from flows.automations import automations
from flows.prefect_api import create_or_update, require_server

EXCEPTION = re.compile(r"[\w.]+(Error|Exception): ")


def main() -> None:
    """Create or update the work pool, the deployments of `prefect.yaml` and the automations."""
    prepare_process()
    with one_line_errors():
        server = require_server()
        repository = repository_around(Path.cwd())
        with get_client(sync_client=True) as client:
            _create_pool(client)
            _deploy(repository)
            housekeeping = client.read_deployment_by_name("housekeeping/housekeeping").id
        wanted = automations(housekeeping)
        for automation in wanted:
            create_or_update(automation)
        print(f"work pool {POOL}, deployments and {len(wanted)} automations are in place at {server}")


def _create_pool(client: SyncPrefectClient) -> None:
    with suppress(ObjectAlreadyExists):  # it may have another type by now, Docker or Kubernetes
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))


def _deploy(repository: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = child_environment({variable_of("deployed_from"): str(repository)})
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["no message"]
        reasons = [line for line in lines if EXCEPTION.match(line)] or lines  # Prefect adds a line after a traceback
        raise DcubeError(f"prefect deploy failed: {reasons[-1]}")


if __name__ == "__main__":
    main()
