"""`dcube ui`: addresses of MLflow's pages, including those that compare models."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dcube.artifacts.layout import PARAMS, REGISTERED, VERSIONS
from dcube.artifacts.schemas.registered import Registered
from dcube.cli.models import NEWEST, Model
from dcube.cli.terminal import quiet_mlflow
from dcube.config.loading import load_params
from dcube.errors import DcubeError
from dcube.runtime.processes import child_environment
from dcube.runtime.settings import library_defaults
from dcube.tracking import tags

if TYPE_CHECKING:
    from dcube.registry.version import Version
    from dcube.registry.versions import RegisteredModel

MOST_COMPARED = 6  # columns that fit on a screen
# What `mlflow ui` sets for its server. Everything for language models stays off.
PAGES = {
    "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
    "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "./mlartifacts",
    "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
# This warning is about MLflow's own code; users of its pages can do nothing about it.
WITHOUT_WARNING = {"PYTHONWARNINGS": "ignore:starlette.middleware.wsgi is deprecated"}


def ui(
    name: Model = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow that is started here.")] = 5000,
) -> None:
    """Print the addresses of MLflow's pages for a registered model; start MLflow unless it runs on a server."""
    from dcube.registry.references import model_of
    from dcube.registry.versions import RegisteredModel
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line, tracking_uri

    quiet_mlflow()
    own = not tracking_uri().startswith("http")
    address = f"http://127.0.0.1:{port}" if own else tracking_uri().rstrip("/")
    try:
        with mlflow_errors_in_one_line():
            registered_model = RegisteredModel.existing(name or model_of(load_params(PARAMS).data.name))
            print("\n".join(addresses(registered_model, address)), flush=True)
    except DcubeError as error:
        if not own:
            raise
        print(error, file=sys.stderr)
    if own:
        command = [sys.executable, "-m", "uvicorn", "--port", str(port), "dcube.tracking.local_pages:app"]
        database = {"_MLFLOW_SERVER_FILE_STORE": tracking_uri()}  # a password in it must not appear in a command line
        with library_defaults(WITHOUT_WARNING):
            os.execve(command[0], command, child_environment(PAGES | database))


def addresses(registered_model: "RegisteredModel", address: str) -> list[str]:
    """Return lines with the addresses of the pages for versions, comparison with the champion, pipelines and models."""
    from dcube.evaluation.metrics import metric_of
    from dcube.registry.pipeline_registration import headline
    from dcube.registry.version import readable
    from dcube.registry.versions import CHALLENGER, CHAMPION
    from dcube.tracking.pages import compare_page, models_page, registered_model_page, runs_page

    lines = [f"versions:  {registered_model_page(address, registered_model.name)}"]
    champion = registered_model.aliases().get(CHAMPION)
    versions = [it for it in readable(registered_model.versions(NEWEST))[0] if it.run and tags.PIPELINE in it.tags]
    if versions and (run := versions[0].run):
        last = _registered_last(registered_model.name, versions) | {champion}
        compared = sorted((it for it in versions if it.version in last), key=lambda it: it.version != champion)
        runs = {it.version: it.run_id for it in compared[:MOST_COMPARED]}
        lines.append(f"compared:  {compare_page(address, registered_model.name, runs)}")
        by_auroc = headline(CHALLENGER, metric_of("auroc").name)
        lines.append(f"pipelines: {runs_page(address, run.info.experiment_id, by_auroc)}")
        lines.append(f"models:    {models_page(address, run.info.experiment_id)}")
    return lines


def _registered_last(name: str, versions: Sequence["Version"]) -> set[str | None]:
    """Return the versions of this working copy's candidates, or of the newest pipeline if there are none.

    Earlier pipelines may have trained some of the working copy's candidates.
    """
    if (record := REGISTERED / VERSIONS).exists() and (registered := Registered.load(record)).name == name:
        return {str(number) for number in registered.versions.values()}
    newest = versions[0].tags[tags.PIPELINE]
    return {it.version for it in versions if it.tags[tags.PIPELINE] == newest}
