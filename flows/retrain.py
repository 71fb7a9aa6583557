"""Looks whether the data have changed since a model was last made of them, and starts the pipeline if so."""

from pathlib import Path
from typing import Any

import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, State

from dcube.errors import DcubeError
from dcube.repository.workspace import commit_of, git, repository_around
from dcube.tracking.outbox import tracking_client
from dcube.tracking.tags import DATA

TAG = "retrain"  # of the runs started here: `promote` follows them


@flow(name="retrain", description="Run a pipeline again where data.dvc has changed since its last registered model.")
def retrain(pipeline: str, revision: str = "HEAD", always: bool = False) -> State[Any]:
    """Start a deployment of the pipeline, whose parameters it keeps, and do not wait for it.

    Args:
        pipeline: the deployment, `pipeline/phantom` for example.
        revision: commit, branch or tag to look at and to run.
        always: whether or not the data have changed.
    """
    repository = repository_around(Path.cwd())
    commit = commit_of(repository, revision)
    data = recorded_data(repository, commit)
    model = f"dcube-{_data_name(pipeline)}"
    if not always and data in known_data(model):
        return Completed(name="Nothing new", message=f"{model} has a version made of these data ({data})")
    asked = str(flow_run.get_id()) if always else f"{commit} {data}"
    run: Any = run_deployment(
        pipeline,
        parameters={"revision": commit},
        timeout=0,
        tags=["dcube", TAG],
        as_subflow=False,
        idempotency_key=f"{TAG} {pipeline} {asked}",  # a schedule does not start what runs already
    )
    get_run_logger().info("Started %s with the data %s as run %s", pipeline, data, run.name)
    return Completed(name="Started", message=f"Run {run.name} of {pipeline}, data {data}")


def recorded_data(repository: Path, commit: str) -> str:
    """DVC's hash of the data that the commit records."""
    try:
        record = git(repository, "show", f"{commit}:data.dvc")
    except DcubeError:
        raise DcubeError(f"commit {commit} records no data: `dcube data add` them, then commit data.dvc") from None
    return str(yaml.safe_load(record)["outs"][0]["md5"])


def known_data(model: str) -> set[str]:
    """DVC's hashes of the data that the registered versions were made of."""
    versions = tracking_client().search_model_versions(f"name = '{model}'")
    return {version.tags[DATA] for version in versions if DATA in version.tags}


def _data_name(pipeline: str) -> str:
    with get_client(sync_client=True) as client:
        try:
            parameters = client.read_deployment_by_name(pipeline).parameters
        except (ObjectNotFound, ValueError):
            raise DcubeError(f"no deployment {pipeline}: `prefect deployment ls` lists them") from None
    return str(parameters["params"]["data"]["name"])
