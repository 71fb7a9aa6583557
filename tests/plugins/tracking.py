"""MLflow: an empty database, a working copy that logs to it, and a server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcube.artifacts.layout import PREPARED
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from tests.support.discs import TINY
from tests.support.mlflow_servers import remove_models, running_mlflow_server


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory) -> Path:
    """An empty database with its tables, to copy: creating the tables takes seconds."""
    from mlflow import MlflowClient  # slow to import, and few tests need it

    file = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def tracking_address(mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of the test's own, which the environment names."""
    address = f"sqlite:///{shutil.copyfile(mlflow_database, tmp_path / 'mlflow.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


@pytest.fixture
def working_copy(
    disc_dataset: PreparedDataset, mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(mlflow_database, "mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    PREPARED.parent.mkdir()
    disc_dataset.folder.rename(PREPARED)
    (tmp_path / "params.yaml").write_text(Params.model_validate(TINY).to_yaml())
    return tmp_path


@pytest.fixture(scope="session")
def started_mlflow_server(
    mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    with running_mlflow_server(mlflow_database, tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server


@pytest.fixture
def mlflow_server(started_mlflow_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An MLflow server without a registered model, which the environment names; returns the folder of its artifacts."""
    address, artifacts = started_mlflow_server
    remove_models(address)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return artifacts
