"""MLflow servers on free ports."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcube.runtime.ports import free_port
from dcube.runtime.processes import process_group
from tests.support.waiting import wait_for_server


@contextmanager
def running_mlflow_server(database: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """A server on a copy of the database; its address, and the folder of its artifacts. Both lie in `folder`."""
    address = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", address.rpartition(":")[2], "--workers", "1",
        "--backend-store-uri", f"sqlite:///{shutil.copyfile(database, folder / 'server.db')}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with process_group(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for_server(process, f"{address}/health")
        yield address, folder / "artifacts"


def remove_models(address: str) -> None:
    """Remove all registered models from the server."""
    from mlflow import MlflowClient  # slow to import, and few tests need it

    client = MlflowClient(address)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
