"""Whether what was registered is still there: DVC keeps a record of it and cannot see the registry."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from dcube.artifacts.layout import EVALUATION, METRICS_FILE, PREDICTIONS, REGISTERED, VERSIONS
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.schemas.registered import Registered
from dcube.errors import DcubeError, abbreviated
from dcube.registry.version import Version
from dcube.tracking import tags
from dcube.tracking.mlflow_client import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from dcube.registry.versions import Registry


def has_its_files(client: "MlflowClient", version: Version, evaluation: str) -> bool:
    """Whether the version's model and its predictions are there.

    Args:
        evaluation: artifact folder of its evaluation.
    """
    try:
        held = client.list_artifacts(version.run_id, evaluation)
        model = client.list_logged_model_artifacts(version.entry.source.removeprefix("models:/"))
    except MlflowException:
        return False
    return {PREDICTIONS, "MLmodel"} <= {Path(file.path).name for file in (*held, *model)}


def lost_versions(registry: "Registry") -> str | None:
    """In one line, what this working copy has registered and the registry does not have, or has as another model."""
    file = REGISTERED / VERSIONS
    record = Registered.load(file) if file.exists() else None
    if record is None or record.name != registry.name:
        return None
    lost = [
        f"{version} ({name})" for name, version in record.versions.items() if not _is_there(registry, name, version)
    ]
    if not lost:
        return None
    return (
        f"{file} names versions that are not in {tracking_uri()}, or are other models there: {abbreviated(lost)}. "
        "`dvc repro --force --single-item register` registers them again"
    )


def _is_there(registry: "Registry", name: str, number: int) -> bool:
    try:
        version = registry.version(str(number))
    except DcubeError:
        return False
    metrics = EVALUATION / name / METRICS_FILE
    return not metrics.exists() or version.tags.get(tags.WEIGHTS) == Metrics.load(metrics).weights_sha256
