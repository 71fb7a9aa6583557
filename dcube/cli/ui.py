"""`dcube ui`: MLflow's pages, and the way to those that compare models."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.artifacts.layout import PARAMS
from dcube.cli.models import NEWEST, Model
from dcube.cli.terminal import quiet_mlflow
from dcube.config.loading import load_params
from dcube.errors import DcubeError
from dcube.runtime.processes import child_environment
from dcube.runtime.settings import library_defaults

if TYPE_CHECKING:
    from dcube.registry.versions import Registry

MOST_COMPARED = 6  # columns that a screen holds
# One process instead of a dozen: four workers, and those of jobs that evaluate language models.
FOR_ONE_PERSON = {"MLFLOW_WORKERS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def ui(
    name: Model = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port, where MLflow is started here.")] = 5000,
) -> None:
    """Print the addresses of MLflow's pages about a registered model, and start MLflow here if it is no server."""
    from dcube.registry.references import model_of
    from dcube.registry.versions import Registry
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line, tracking_uri

    quiet_mlflow()
    own = not tracking_uri().startswith("http")
    address = f"http://127.0.0.1:{port}" if own else tracking_uri().rstrip("/")
    try:
        with mlflow_errors_in_one_line():
            registry = Registry.existing(name or model_of(load_params(PARAMS).data.name))
            print("\n".join(addresses(registry, address)), flush=True)
    except DcubeError as error:
        if not own:
            raise
        print(error, file=sys.stderr)
    if own:
        command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
        database = {"MLFLOW_BACKEND_STORE_URI": tracking_uri()}  # may hold a password, and everybody sees a command
        with library_defaults(FOR_ONE_PERSON):
            os.execve(command[0], command, child_environment(database))


def addresses(registry: "Registry", address: str) -> list[str]:
    """Of the versions, of the last pipeline's beside the champion, and of the pipelines by AUROC."""
    from dcube.registry.version import readable
    from dcube.registry.versions import CHAMPION
    from dcube.tracking import tags
    from dcube.tracking.pages import compare_page, models_page, registered_model_page, runs_page

    lines = [f"versions:  {registered_model_page(address, registry.name)}"]
    (versions, _), champion = readable(registry.versions(NEWEST)), registry.aliases().get(CHAMPION)
    if versions:
        newest = versions[0].tags.get(tags.PIPELINE)
        compared = [it for it in versions if it.version == champion or it.tags.get(tags.PIPELINE) == newest]
        runs = {it.version: it.run_id for it in compared[:MOST_COMPARED]}
        lines.append(f"compared:  {compare_page(address, registry.name, runs)}")
        if run := versions[0].run:
            lines.append(f"pipelines: {runs_page(address, run.info.experiment_id, 'challenger.auroc')}")
            lines.append(f"models:    {models_page(address, run.info.experiment_id)}")
    return lines
