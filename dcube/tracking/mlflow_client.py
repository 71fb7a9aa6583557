"""MLflow's client, and uses of MLflow that an upgrade can break: its variables, errors and differences of its stores.

`docs/architecture.md` lists these uses and the version of MLflow with which they were checked.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING

from filelock import FileLock
from tenacity import Retrying, retry_if_exception

from dcube.errors import DcubeError
from dcube.runtime import retries
from dcube.runtime.settings import library_defaults, read_settings
from dcube.tracking import tags
from dcube.tracking.local_store import artifact_location, database_of, refuse_damage, refuse_foreign_paths

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

LOCKS = Path(".dcube")
# Timeouts of MLflow's requests: for uploads during a training, and for commands with a waiting user.
FAIL_FAST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
FEW_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
QUIET = {"MLFLOW_LOGGING_LEVEL": "WARNING"}  # otherwise messages about its new database appear in a stage's output
NO_PROGRESS_BAR = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
# Kind of an experiment. It does not decide which page MLflow 3.17 opens (see `dcube.tracking.pages`).
MODEL_TRAINING = {tags.EXPERIMENT_KIND: "custom_model_development"}
# Error codes that the same request would get again, so that a retry is useless.
REFUSALS = {
    "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST",
}  # fmt: skip
MISSING = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}
# Error codes for an unknown account or a wrong password.
DENIALS = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
FORBIDDEN = "gives this account no permission for that: ask its administrator"
DENIED = "refuses the user name or the password: check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
LONGEST_KEY = 250
PAGE = 500  # runs per request


def tracking_uri(repository: Path | None = None) -> str:
    """Return `MLFLOW_TRACKING_URI`, or else the address of a database in `repository` or in the present repository.

    In a stage, the present repository is the one that DVC names, because DVC deletes the copies in which it runs
    experiments.

    Raises:
        DcubeError: if the path of the database contains a `?`, which is not possible in its address.
    """
    settings = read_settings()
    if settings.tracking_uri:
        return settings.tracking_uri
    database = (repository or settings.dvc_root or Path.cwd()) / "mlflow.db"
    if "?" in str(database):  # the rest would be read as options, and the database would be created elsewhere
        raise DcubeError(
            f"{database}: the address of a database holds no `?`: rename the folder, or set MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{database}"


def without_password(text: str) -> str:
    """Return the text for display, without user names and passwords in its addresses."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def tracking_client(uri: str | None = None) -> "MlflowClient":
    """Return a client of the MLflow server or database.

    Raises:
        DcubeError: if the database belongs to a working copy that was copied or moved.
    """
    if database := database_of(uri or tracking_uri()):
        refuse_foreign_paths(database)
    with library_defaults(QUIET):  # MLflow reads it on import
        from mlflow import MlflowClient

    return MlflowClient(uri or tracking_uri())


def existing_tracking_client() -> "MlflowClient":
    """Return a client for commands that only read, and do not create a missing database.

    Raises:
        DcubeError: if the database is missing.
    """
    if is_missing_database(tracking_uri()):
        raise DcubeError(
            f"{database_of(tracking_uri())} is missing: run where the pipeline ran, or set MLFLOW_TRACKING_URI"
        )
    return tracking_client()


def is_missing_database(uri: str) -> bool:
    database = database_of(uri)
    return database is not None and not database.exists()


@contextmanager
def mlflow_errors_in_one_line() -> Iterator[None]:
    """Turn MLflow's errors inside the block into one-line errors, after few retries."""
    from mlflow.exceptions import MlflowException

    with library_defaults(FEW_RETRIES):
        try:
            yield
        except MlflowException as error:
            if database := database_of(tracking_uri()):
                refuse_damage(database)
            address = f"MLflow ({without_password(tracking_uri())})"
            if is_denial(error) or is_forbidden(error):
                raise DcubeError(f"{address} {DENIED if is_denial(error) else FORBIDDEN}") from None
            if is_away(error) and not database:
                raise DcubeError(f"{address} does not answer: check MLFLOW_TRACKING_URI and the server") from None
            raise DcubeError(f"{address}: {reason_of(error)}: check MLFLOW_TRACKING_URI and credentials") from None


def experiment_called(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment, which is created if it does not exist.

    Raises:
        DcubeError: if the experiment was deleted, because its name cannot be used until it is restored.
    """
    from mlflow.exceptions import MlflowException

    LOCKS.mkdir(parents=True, exist_ok=True)
    with FileLock(LOCKS / "experiment.lock"):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return client.create_experiment(name, _artifact_location(), MODEL_TRAINING)
            except MlflowException as error:  # another machine may have created it meanwhile
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = client.get_experiment_by_name(name)
        if found.lifecycle_stage != "active":
            raise DcubeError(
                f"the experiment {name!r} was deleted in MLflow: restore it with "
                f"`MLFLOW_TRACKING_URI={without_password(tracking_uri())} "
                f"mlflow experiments restore --experiment-id {found.experiment_id}`"
            )
        for key, value in MODEL_TRAINING.items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, value)
        return found.experiment_id


def all_runs(client: "MlflowClient", condition: str, deleted: bool = False) -> "Iterator[Run]":
    """Yield the runs of all experiments that meet the condition, the newest first, if wanted with deleted ones."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments(_view(deleted))]
    yield from runs_of(client, experiments, condition, deleted)


def runs_of(client: "MlflowClient", experiments: list[str], condition: str, deleted: bool = False) -> "Iterator[Run]":
    """Yield the runs of these experiments that meet the condition, the newest first, if wanted with deleted ones."""
    page = None
    while experiments and page != "":
        found = client.search_runs(experiments, condition, _view(deleted), max_results=PAGE, page_token=page)
        yield from found
        page = found.token or ""


def is_refusal(error: BaseException) -> bool:
    """Return whether MLflow refused the request and would refuse it again."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in REFUSALS and not is_collision(error)


def is_missing(error: BaseException) -> bool:
    """Return whether MLflow reported a missing object; for invalid ids it reports an invalid value."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in MISSING


def is_defect(error: BaseException) -> bool:
    """Return whether the sent data caused the error: MLflow refuses them, or they cannot be read."""
    from mlflow.exceptions import MlflowException

    return is_refusal(error) or not isinstance(error, (MlflowException, OSError))


def is_denial(error: BaseException) -> bool:
    """Return whether MLflow refused the user name or the password."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in DENIALS


def is_forbidden(error: BaseException) -> bool:
    """Return whether the account lacks a permission that an administrator may give."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code == "PERMISSION_DENIED"


def is_away(error: BaseException) -> bool:
    """Return whether the server did not answer, so that other requests would fail too."""
    import requests
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, MlflowException):
        return not isinstance(error, RestException) and error.error_code == "INTERNAL_ERROR"
    return isinstance(error, (ConnectionError, requests.ConnectionError, requests.Timeout))


def is_collision(error: BaseException) -> bool:
    """Return whether another client wrote the same row at the same moment, between MLflow's look-up and insert."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and any(it in str(error) for it in ("IntegrityError", "UniqueViolation"))


def after_collision() -> Retrying:
    """Return a callable that calls a function, and retries it if another client wrote the same row meanwhile."""
    return retries.AFTER_COLLISION.retrying(Exception, retry=retry_if_exception(is_collision))


def reason_of(error: BaseException) -> str:
    """Return MLflow's message on one line, without passwords."""
    return without_password(" ".join(str(error).split()))[:300]


def mlflow_key(name: str) -> str:
    """Return `name` as MLflow accepts it for a metric or a parameter, unchanged if possible.

    Letters of all scripts are kept. If characters have to be replaced, a hash is added, so that different names stay
    different, for example those of the classes "CT (a)" and "CT [a]".
    """
    safe = re.sub(r"[^\w\-. :/]", "_", name)
    if normpath(safe) != safe or safe.startswith(("/", "..")):  # MLflow reads names as paths
        safe = re.sub(r"[/.]", "_", safe)
    if safe == name and len(name) <= LONGEST_KEY:
        return name
    return f"{safe[: LONGEST_KEY - 9]} {sha256(name.encode()).hexdigest()[:8]}"


def aliases_of(model: "RegisteredModel") -> dict[str, str]:
    """Return alias → version of a registered model, because a search for versions returns no aliases."""
    return {alias: str(version) for alias, version in model.aliases.items()}


def version_number(version: "ModelVersion") -> str:
    """Return a version's number as text, because some of MLflow's stores return an integer."""
    return str(version.version)


def _view(deleted: bool) -> int:
    from mlflow.entities import ViewType

    return ViewType.ALL if deleted else ViewType.ACTIVE_ONLY


def _artifact_location() -> str | None:
    """Return a folder beside the database; None for a server, which decides itself."""
    database = database_of(tracking_uri())
    return artifact_location(database) if database else None
