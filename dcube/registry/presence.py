"""Check that registered versions still exist. DVC only has a record of them and cannot see the registry."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from dcube.artifacts.dvc_files import read_lock
from dcube.artifacts.layout import EVALUATION, METRICS_FILE, PREDICTIONS, REGISTERED, VERSIONS
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.schemas.registered import Registered
from dcube.errors import DcubeError, abbreviated
from dcube.registry.version import Version
from dcube.registry.versions import RegisteredModel, evaluation_artifacts
from dcube.tracking import tags
from dcube.tracking.mlflow_client import (
    is_missing,
    is_missing_database,
    tracking_client,
    tracking_uri,
    without_password,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

REGISTRATION = REGISTERED / VERSIONS
REMEDY = "DVC cannot see that: `dcube doctor` removes this record, and `dvc repro` then registers them again."


def has_its_files(client: "MlflowClient", version: Version, evaluation: str) -> bool:
    """Return whether the version's model and predictions still exist.

    Args:
        evaluation: artifact folder of its evaluation.

    Raises:
        MlflowException: if MLflow fails for any reason other than a missing run or model.
    """
    try:
        held = client.list_artifacts(version.run_id, evaluation)
        model = client.list_logged_model_artifacts(version.entry.source.removeprefix("models:/"))
    except MlflowException as error:
        if not is_missing(error):  # a server that fails for a moment has lost nothing
            raise
        return False
    return {PREDICTIONS, "MLmodel"} <= {Path(file.path).name for file in (*held, *model)}


def lost_versions() -> str | None:
    """Return a message if versions registered by this working copy are missing, incomplete or replaced; else None.

    Versions of earlier results are not looked for, because DVC registers the new ones anyway.
    """
    if not REGISTRATION.exists() or _is_of_earlier_results():
        return None
    record, uri = Registered.load(REGISTRATION), tracking_uri()
    registered_model = None if is_missing_database(uri) else RegisteredModel(tracking_client(), record.name)
    lost = [
        f"{version} ({name})"
        for name, version in record.versions.items()
        if registered_model is None or not _is_there(registered_model, name, version)
    ]
    if not lost:
        return None
    return (
        f"{REGISTRATION} names versions of {record.name} that are not in {without_password(uri)}, or are other models "
        f"or have lost files there: {abbreviated(lost)}"
    )


def _is_of_earlier_results() -> bool:
    lock = read_lock()
    return bool(lock.stages) and ("register" not in lock.stages or any(lock.other_outputs(["register"])))


def _is_there(registered_model: RegisteredModel, name: str, number: int) -> bool:
    try:
        version = registered_model.version(str(number))
    except DcubeError:
        return False
    metrics = EVALUATION / name / METRICS_FILE
    if metrics.exists() and version.tags.get(tags.WEIGHTS) != Metrics.load(metrics).weights_sha256:
        return False
    return has_its_files(registered_model.client, version, evaluation_artifacts(name))
