"""Downloads from MLflow. A file counts as missing only if MLflow itself reports it as missing."""

import shutil
from pathlib import Path
from posixpath import dirname
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dcube.errors import DcubeError
from dcube.runtime.settings import library_defaults
from dcube.tracking.mlflow_client import NO_PROGRESS_BAR, is_missing, reason_of

if TYPE_CHECKING:
    from mlflow import MlflowClient


def download(client: "MlflowClient", address: str, target: Path) -> bool:
    """Download a file or a folder to `target`, or return False if MLflow does not have it.

    Args:
        address: `runs:/ID/PATH`, or `models:/NAME/VERSION` with or without a path below it.

    Raises:
        DcubeError: if the download fails although MLflow has the file, or does not say whether it has it.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    target.parent.mkdir(parents=True, exist_ok=True)
    here = {"MLFLOW_TRACKING_URI": client.tracking_uri}  # MLflow looks there for a version, whatever argument it gets
    with TemporaryDirectory(dir=target.parent) as arrival, library_defaults(NO_PROGRESS_BAR | here):
        try:
            found = Path(download_artifacts(address, dst_path=arrival, tracking_uri=client.tracking_uri))
        except (MlflowException, OSError) as error:
            if (reason := _why_not(client, address, error)) is None:
                return False
            raise DcubeError(f"MLflow does not give {address}: {reason}: try again, or look into its log") from error
        if found == Path(arrival):  # the place where MLflow writes files depends on the server
            shutil.copytree(found, target)
        else:
            shutil.move(found, target)
    return True


def _why_not(client: "MlflowClient", address: str, error: Exception) -> str | None:
    """Return the reason why a download failed, or None if MLflow's listing shows that the file does not exist.

    The listing is needed, because MLflow reports every failed download as a missing file.
    """
    from mlflow.artifacts import list_artifacts
    from mlflow.exceptions import MlflowException

    kind, _, path = address.partition(":/")
    try:
        if kind == "runs":
            run_id, _, path = path.partition("/")
            listed = client.list_artifacts(run_id, dirname(path) or None)
        elif path.count("/") == 1:
            return reason_of(error) if list_artifacts(address, tracking_uri=client.tracking_uri) else None
        else:
            listed = list_artifacts(dirname(address), tracking_uri=client.tracking_uri)
    except (MlflowException, OSError) as failure:
        return None if is_missing(failure) else reason_of(failure)
    return reason_of(error) if any(address.endswith(f"/{it.path}") for it in listed) else None
