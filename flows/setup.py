"""`python -m flows.setup`: everything that runs need of the Prefect server. Again and again, with the same result."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL

from dcube.errors import DcubeError, one_line_errors
from dcube.repository.workspace import repository_around
from flows.automations import automations, create

POOL = "gpu"


def main() -> None:
    """Work pool, deployments of `prefect.yaml`, automations."""
    with one_line_errors():
        if not PREFECT_API_URL.value():
            raise DcubeError("no Prefect server: set PREFECT_API_URL, e.g. to http://127.0.0.1:4200/api")
        repository = repository_around(Path.cwd())
        with get_client(sync_client=True) as client:
            _create_pool(client)
            _deploy(repository)
            housekeeping = client.read_deployment_by_name("housekeeping/housekeeping").id
        wanted = automations(housekeeping)
        for automation in wanted:
            create(automation)
        print(f"work pool {POOL}, deployments and {len(wanted)} automations are in place at {PREFECT_API_URL.value()}")


def _create_pool(client: SyncPrefectClient) -> None:
    with suppress(ObjectAlreadyExists):  # it may be of another type by now: Docker, Kubernetes
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))


def _deploy(repository: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = os.environ | {"DCUBE_DEPLOYED_FROM": str(repository)}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise DcubeError(f"prefect deploy failed: {reason[-1] if reason else 'without a word'}")


if __name__ == "__main__":
    main()
