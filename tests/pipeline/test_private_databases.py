"""DVC's databases of a repository, which contain the names of raw files, are readable by their user only."""

import os
from pathlib import Path

import pytest
from dvc.repo import Repo

from dcube.repository.data_record import add_data
from dcube.repository.dvc_internals import restore_data


@pytest.fixture
def databases(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc"))
    return tmp_path / "dvc/repo"


def readable_by_others(databases: Path) -> list[Path]:
    found = list(databases.iterdir())
    assert found and all(list(folder.rglob("cache.db")) for folder in found)
    return [folder for folder in found if folder.stat().st_mode & 0o077]


def test_names_of_raw_files_are_hidden_from_other_users(databases: Path, repository: Path) -> None:
    (repository / "raw/ward").mkdir(parents=True)
    (repository / "raw/ward/Doe_Jane.png").write_bytes(b"x")
    mask = os.umask(0o022)
    try:
        add_data(Path("raw"))
        assert not readable_by_others(databases)
        with Repo() as repo:
            repo.status()
        assert not readable_by_others(databases), "DVC keeps the permissions"
    finally:
        os.umask(mask)


def test_existing_databases_are_hidden_by_doctor_and_by_runs(databases: Path, repository: Path, run_dcube) -> None:
    for hide in (lambda: run_dcube("doctor"), lambda: restore_data(repository)):
        with Repo() as repo:
            Path(repo.site_cache_dir).chmod(0o755)
            repo.status()
        assert readable_by_others(databases)
        hide()
        assert not readable_by_others(databases)
