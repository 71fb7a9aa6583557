"""MLflow's client, and what of MLflow an upgrade can break: its variables, its stores' differences, its addresses.

`docs/architecture.md` lists these places, with the version that they were checked on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from filelock import FileLock

from dcube.errors import DcubeError
from dcube.runtime.settings import library_defaults, read_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

LOCKS = Path(".dcube")
# How long MLflow's own requests try: beside a training, and while a person waits.
FAIL_FAST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
FEW_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
QUIET = {"MLFLOW_LOGGING_LEVEL": "WARNING"}  # that it makes its database, it would say in the middle of a stage
NO_PROGRESS_BAR = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


def tracking_uri(repository: Path | None = None) -> str:
    """`MLFLOW_TRACKING_URI`, else a database in `repository`, by default in this working copy."""
    return read_settings().tracking_uri or f"sqlite:///{(repository or Path.cwd()) / 'mlflow.db'}"


def tracking_client(uri: str | None = None) -> "MlflowClient":
    with library_defaults(QUIET):  # read as MLflow is imported
        from mlflow import MlflowClient

    return MlflowClient(uri or tracking_uri())


def existing_tracking_client() -> "MlflowClient":
    """For commands that only look: a database that is not there is not made.

    Raises:
        DcubeError: there is none.
    """
    if is_missing_database(tracking_uri()):
        raise DcubeError(
            f"{_database(tracking_uri())} is missing: run where the pipeline ran, or set MLFLOW_TRACKING_URI"
        )
    return tracking_client()


def is_missing_database(uri: str) -> bool:
    database = _database(uri)
    return database is not None and not database.exists()


@contextmanager
def mlflow_errors_in_one_line() -> Iterator[None]:
    """A server that is away or refuses ends in one line, soon."""
    from mlflow.exceptions import MlflowException

    with library_defaults(FEW_RETRIES):
        try:
            yield
        except MlflowException as error:
            reason = " ".join(str(error).split())[:300]
            raise DcubeError(
                f"MLflow ({tracking_uri()}): {reason}: check MLFLOW_TRACKING_URI and credentials"
            ) from None


def experiment_called(client: "MlflowClient", name: str) -> str:
    """The id of the experiment, made where there is none."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    with FileLock(LOCKS / "experiment.lock"):
        found = client.get_experiment_by_name(name)
        return found.experiment_id if found else client.create_experiment(name, _artifact_location())


def run_page(uri: str, run: "Run") -> str:
    """Address of the run's page on a server."""
    return f"{uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def aliases_of(client: "MlflowClient", model: str) -> dict[str, str]:
    """Alias → version of a registered model; the versions themselves name no aliases when they are searched."""
    return {alias: str(version) for alias, version in client.get_registered_model(model).aliases.items()}


def version_number(version: "ModelVersion") -> str:
    """A version's number as text: some of MLflow's stores give it as such, some as an integer."""
    return str(version.version)


@contextmanager
def downloaded(client: "MlflowClient", run_id: str, artifact: str) -> Iterator[Path | None]:
    """An artifact of a run inside the block, None where it is gone. Where it arrives depends on the server."""
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as folder:
        try:
            with library_defaults(NO_PROGRESS_BAR):
                found = Path(client.download_artifacts(run_id, artifact, folder))
        except (MlflowException, OSError):
            found = None
        yield found


def _database(uri: str) -> Path | None:
    scheme, _, database = uri.partition(":///")
    return Path(database) if scheme == "sqlite" else None


def _artifact_location() -> str | None:
    """Beside the database; a server decides for itself."""
    database = _database(tracking_uri())
    return (database.resolve().parent / "mlruns").as_uri() if database else None
