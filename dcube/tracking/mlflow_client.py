"""MLflow's client, and what of MLflow an upgrade can break: its variables, its stores' differences, its addresses.

`docs/architecture.md` lists these places, with the version that they were checked on.
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
from dcube.tracking.local_store import artifact_location, database_of, refuse_foreign_paths

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

LOCKS = Path(".dcube")
# How long MLflow's own requests try: beside a training, and while a person waits.
FAIL_FAST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
FEW_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
QUIET = {"MLFLOW_LOGGING_LEVEL": "WARNING"}  # that it makes its database, it would say in the middle of a stage
NO_PROGRESS_BAR = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
# What an experiment is about. Which of its pages MLflow 3.17 opens, `dcube.tracking.pages` says.
MODEL_TRAINING = {tags.EXPERIMENT_KIND: "custom_model_development"}
# Errors of MLflow that the same request meets again, however often it is sent.
REFUSALS = {
    "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST",
}  # fmt: skip
MISSING = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}
# Of an account: unknown, or its password is wrong.
DENIALS = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
CHECK_CREDENTIALS = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
LONGEST_KEY = 250
PAGE = 500  # runs that one request asks for


def tracking_uri(repository: Path | None = None) -> str:
    """`MLFLOW_TRACKING_URI`, else a database in `repository`, by default in that of this working copy.

    DVC deletes the copies in which it runs experiments, so that a stage looks where DVC says that its repository is.

    Raises:
        DcubeError: a database there has no address.
    """
    settings = read_settings()
    if settings.tracking_uri:
        return settings.tracking_uri
    database = (repository or settings.dvc_root or Path.cwd()) / "mlflow.db"
    if "?" in str(database):  # what follows it would be taken for options, and the database made elsewhere
        raise DcubeError(
            f"{database}: the address of a database holds no `?`: rename the folder, or set MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{database}"


def without_password(text: str) -> str:
    """The text as it may be printed: no user and no password in its addresses."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def tracking_client(uri: str | None = None) -> "MlflowClient":
    """Raises: DcubeError: it is the database of a working copy that was copied or moved."""
    if database := database_of(uri or tracking_uri()):
        refuse_foreign_paths(database)
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
            f"{database_of(tracking_uri())} is missing: run where the pipeline ran, or set MLFLOW_TRACKING_URI"
        )
    return tracking_client()


def is_missing_database(uri: str) -> bool:
    database = database_of(uri)
    return database is not None and not database.exists()


@contextmanager
def mlflow_errors_in_one_line() -> Iterator[None]:
    """A server that is away or refuses ends in one line, soon."""
    from mlflow.exceptions import MlflowException

    with library_defaults(FEW_RETRIES):
        try:
            yield
        except MlflowException as error:
            address = without_password(tracking_uri())
            raise DcubeError(
                f"MLflow ({address}): {reason_of(error)}: check MLFLOW_TRACKING_URI and credentials"
            ) from None


def experiment_called(client: "MlflowClient", name: str) -> str:
    """The id of the experiment, made where there is none.

    Raises:
        DcubeError: it was deleted, and its name is taken until it is restored.
    """
    from mlflow.exceptions import MlflowException

    LOCKS.mkdir(parents=True, exist_ok=True)
    with FileLock(LOCKS / "experiment.lock"):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return client.create_experiment(name, _artifact_location(), MODEL_TRAINING)
            except MlflowException as error:  # another machine was faster
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
    """The runs of all experiments that meet the condition, the newest first; on request deleted ones too."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments(_view(deleted))]
    yield from runs_of(client, experiments, condition, deleted)


def runs_of(client: "MlflowClient", experiments: list[str], condition: str, deleted: bool = False) -> "Iterator[Run]":
    """The runs of these experiments that meet the condition, the newest first; on request deleted ones too."""
    page = None
    while experiments and page != "":
        found = client.search_runs(experiments, condition, _view(deleted), max_results=PAGE, page_token=page)
        yield from found
        page = found.token or ""


def is_refusal(error: BaseException) -> bool:
    """Whether MLflow answered, and will answer the same to another attempt."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in REFUSALS and not is_collision(error)


def is_missing(error: BaseException) -> bool:
    """Whether MLflow answered that it has no such thing; what cannot be an id is an invalid value to it."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in MISSING


def is_defect(error: BaseException) -> bool:
    """Whether what is sent is at fault: MLflow refuses it, or it cannot be read."""
    from mlflow.exceptions import MlflowException

    return is_refusal(error) or not isinstance(error, (MlflowException, OSError))


def is_denial(error: BaseException) -> bool:
    """Whether MLflow knows no such account with this password."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in DENIALS


def is_away(error: BaseException) -> bool:
    """Whether no answer came, so that other requests would get none either."""
    import requests
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, MlflowException):
        return not isinstance(error, RestException) and error.error_code == "INTERNAL_ERROR"
    return isinstance(error, (ConnectionError, requests.ConnectionError, requests.Timeout))


def is_collision(error: BaseException) -> bool:
    """Whether another client wrote the same row at the same moment: MLflow looks for it, and then inserts it."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and any(it in str(error) for it in ("IntegrityError", "UniqueViolation"))


def after_collision() -> Retrying:
    """Call it with a function: it is called again where another client wrote the same row at the same moment."""
    return retries.AFTER_COLLISION.retrying(Exception, retry=retry_if_exception(is_collision))


def reason_of(error: BaseException) -> str:
    """MLflow's own words, on one line."""
    return without_password(" ".join(str(error).split()))[:300]


def mlflow_key(name: str) -> str:
    """`name` as MLflow takes it for a metric or a parameter, as it is where that can be.

    Letters of all scripts stay. Where something had to be replaced, a hash keeps different names different: of the
    classes "CT (a)" and "CT [a]", for example.
    """
    safe = re.sub(r"[^\w\-. :/]", "_", name)
    if normpath(safe) != safe or safe.startswith(("/", "..")):  # MLflow reads names as paths
        safe = re.sub(r"[/.]", "_", safe)
    if safe == name and len(name) <= LONGEST_KEY:
        return name
    return f"{safe[: LONGEST_KEY - 9]} {sha256(name.encode()).hexdigest()[:8]}"


def aliases_of(model: "RegisteredModel") -> dict[str, str]:
    """Alias → version of a registered model; the versions themselves name no aliases when they are searched."""
    return {alias: str(version) for alias, version in model.aliases.items()}


def version_number(version: "ModelVersion") -> str:
    """A version's number as text: some of MLflow's stores give it as such, some as an integer."""
    return str(version.version)


def _view(deleted: bool) -> int:
    from mlflow.entities import ViewType

    return ViewType.ALL if deleted else ViewType.ACTIVE_ONLY


def _artifact_location() -> str | None:
    """Beside the database; a server decides for itself."""
    database = database_of(tracking_uri())
    return artifact_location(database) if database else None
