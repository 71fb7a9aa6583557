"""Small git and DVC repositories, built once a session and copied for every test."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support import small_pipeline, traced_version
from tests.support.working_copy import WorkingCopy


@pytest.fixture(scope="session")
def small_template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    small_pipeline.build(folder)
    return folder


@pytest.fixture
def repository(small_template, mlflow_database, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "repository"
    shutil.copytree(small_template, folder, symlinks=True)
    shutil.copyfile(mlflow_database, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RAN", str(tmp_path / "ran.txt"))
    monkeypatch.setenv("PIDS", str(tmp_path / "pids.txt"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def ran(tmp_path) -> Callable[[], list[str]]:
    """Return the stages that ran since the last call."""

    def read() -> list[str]:
        file = tmp_path / "ran.txt"
        names = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return names

    return read


@pytest.fixture(scope="session")
def traced_template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "repository"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LOG", str(folder.parent / "log.txt"))
        traced_version.build_repository()
    return folder


@pytest.fixture
def traced_repository(traced_template, mlflow_database, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "repository"
    shutil.copytree(traced_template, folder, symlinks=True)
    shutil.copyfile(mlflow_database, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LOG", str(tmp_path / "log.txt"))
    for name in ("MLFLOW_TRACKING_URI", "DCUBE_PIPELINE", "PREFECT_API_URL", "DCUBE_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "log.txt").touch()
    return folder


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """A repository with the phantom added and prepared, but nothing trained."""
    copy = WorkingCopy.of_this_code(tmp_path_factory.mktemp("fresh"))
    copy.set_params()
    copy.run("git", "init", "--quiet")
    copy.commit()
    copy.run(sys.executable, "-m", "dcube.cli", "data", "add", "phantom")
    assert not copy.run("git", "status", "--porcelain", "data.dvc").output, "the phantom has other bytes here"
    copy.dvc("repro", "prepare")
    return copy


@pytest.fixture(scope="session")
def complete(fresh: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """A repository in which every stage has run and is committed."""
    copy = fresh.copy(tmp_path_factory.mktemp("complete") / "copy")
    stages = yaml.safe_load((copy.folder / "dvc.yaml").read_text())["stages"]
    matrix = stages.pop("evaluate")["matrix"]["model"]
    assert copy.dvc("repro").ran == (stages.keys() - {"prepare"}) | {f"evaluate@{name}" for name in matrix}
    copy.commit()
    return copy
