"""Flow that starts the pipeline if the data have changed since the last registered model."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, State

from dcube.registry.references import model_of
from dcube.registry.version import readable
from dcube.registry.versions import RegisteredModel
from dcube.repository.commands import commit_of, repository_around
from dcube.repository.data_record import recorded_data
from dcube.tracking.mlflow_client import tracking_client
from dcube.tracking.tags import DATA
from flows.prefect_api import log_errors_in_one_line, parameters_of, start_once

TAG = "retrain"  # tag of the runs started here, after which `promote` runs


@flow(name="retrain", description="Run a pipeline again where data.dvc has changed since its last registered model.")
def retrain(pipeline: str, revision: str = "HEAD", always: bool = False) -> State[Any]:
    """Start a deployment of the pipeline with its own parameters, without waiting for it.

    Args:
        pipeline: name of the deployment, for example `pipeline/phantom`.
        revision: commit, branch or tag to check and to run.
        always: start even if the data have not changed.
    """
    log_errors_in_one_line()
    repository = repository_around(Path.cwd())
    commit = commit_of(repository, revision)
    data = recorded_data(repository, commit)
    model = model_of(parameters_of(pipeline)["params"]["data"]["name"])
    if not always and data in known_data(model):
        return Completed(name="Nothing new", message=f"{model} has a version made of these data ({data})")
    occasion = str(flow_run.get_id()) if always else f"{commit} {data}"
    run = start_once(
        pipeline,
        key=f"{TAG} {pipeline} {occasion}",  # so that a schedule does not start the same run twice
        parameters={"revision": commit},
        tags=["dcube", TAG],
    )
    get_run_logger().info("Started %s with the data %s as run %s", pipeline, data, run.name)
    return Completed(name="Started", message=f"Run {run.name} of {pipeline}, data {data}")


def known_data(model: str) -> set[str]:
    """Return DVC's hashes of the data that the registered versions were trained on."""
    versions, _ = readable(RegisteredModel(tracking_client(), model).versions())
    return {version.tags[DATA] for version in versions if DATA in version.tags}
