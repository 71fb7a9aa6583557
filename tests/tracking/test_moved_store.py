"""A copied or moved working copy with its `mlflow.db` neither reads nor writes artifacts of the original."""

import os
import shutil
import sqlite3
from pathlib import Path
from urllib.request import url2pathname

import pytest
from mlflow import MlflowClient

from dcube.tracking.mlflow_client import tracking_client
from dcube.tracking.run import tracked_run


@pytest.fixture
def first(repository, monkeypatch) -> Path:
    """A working copy whose path has to be quoted, with a run, a model and a version."""
    folder = repository.rename(repository.with_name("my first (50%)"))
    os.chdir(folder)
    with tracked_run("prepare", {}) as run:
        run.log_text("of the first", "note.txt")
    client = tracking_client()
    experiment = client.get_run(run.run_id).info.experiment_id
    model = client.create_logged_model(experiment, source_run_id=run.run_id)
    Path(url2pathname(model.artifact_location.removeprefix("file://"))).mkdir(parents=True)
    client.create_registered_model("dcube-small")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")  # MLflow looks for the model there
        client.create_model_version("dcube-small", f"models:/{model.model_id}", run.run_id, model_id=model.model_id)
    return folder


def notes(client: MlflowClient) -> list[str]:
    """The notes of all runs."""
    runs = client.search_runs([it.experiment_id for it in client.search_experiments()])
    held = (it for it in runs if client.list_artifacts(it.info.run_id))
    return sorted(Path(client.download_artifacts(it.info.run_id, "note.txt")).read_text() for it in held)


def log_note(text: str) -> None:
    with tracked_run("prepare", {}) as run:
        run.log_text(text, "note.txt")


def mentions(database: Path, text: str) -> list[str]:
    """Columns of any table that contain the text."""
    with sqlite3.connect(database) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [(table, row[1]) for table in tables for row in connection.execute(f"PRAGMA table_info({table})")]
        return [
            f"{table}.{column}"
            for table, column in columns
            if connection.execute(f'SELECT 1 FROM "{table}" WHERE instr("{column}", ?)', (text,)).fetchone()
        ]


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_copy_does_not_write_to_the_original_and_doctor_repairs_it(first, run_dcube, monkeypatch, capsys):
    copy = Path(shutil.copytree(first, first.with_name("copy"), symlinks=True))
    monkeypatch.chdir(copy)
    before = files(first)
    code, said = run_dcube("models", "dcube-small")
    assert code == 2 and f"{copy}/mlflow.db was copied or moved" in said and str(first / "mlruns") in said
    assert "dcube doctor" in said and said.count("\n") == 1
    log_note("of the copy")
    assert "was copied or moved" in capsys.readouterr().err and files(first) == before
    code, said = run_dcube("doctor")
    assert code == 0 and f"not those in {first}/mlruns" in said
    assert "dvc repro" not in said, "paths blocked nothing"
    assert mentions(copy / "mlflow.db", f"{first.name}/mlruns") == mentions(copy / "mlflow.db", "/my%20") == []
    log_note("of the mended copy")
    assert notes(tracking_client()) == ["of the copy", "of the first", "of the mended copy"], "what waited was sent"
    assert files(first) == before
    assert run_dcube("doctor") == (0, "nothing to repair\n")


def test_moved_working_copy_finds_its_artifacts_after_doctor(first, run_dcube, monkeypatch):
    moved = first.rename(first.with_name("moved"))
    monkeypatch.chdir(moved)
    assert run_dcube("models", "dcube-small")[0] == 2
    assert run_dcube("doctor")[0] == 0
    assert notes(tracking_client()) == ["of the first"]
    version = tracking_client().search_model_versions("name = 'dcube-small'")[0]
    assert tracking_client().get_model_version_download_uri(version.name, version.version).startswith(moved.as_uri())


def test_doctor_names_missing_artifacts_and_changes_nothing(first, run_dcube, monkeypatch):
    copy = Path(shutil.copytree(first, first.with_name("copy"), symlinks=True))
    monkeypatch.chdir(copy)
    shutil.rmtree("mlruns")
    before = (copy / "mlflow.db").read_bytes()
    code, said = run_dcube("doctor")
    assert code == 2 and f"{copy}/mlruns lacks artifacts" in said and f"copy them from {first}/mlruns" in said
    shutil.copytree(first / "mlruns/models", "mlruns/models")
    code, said = run_dcube("doctor")
    assert code == 2 and "names: mlruns" not in said and "/artifacts" in said
    assert (copy / "mlflow.db").read_bytes() == before
    shutil.copytree(first / "mlruns", "mlruns", dirs_exist_ok=True)
    assert run_dcube("doctor")[0] == 0


def test_link_to_a_working_copy_counts_as_the_same_copy(first, run_dcube, monkeypatch):
    link = first.with_name("link")
    link.symlink_to(first)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{link}/mlflow.db")
    log_note("through the link")
    assert notes(tracking_client()) == ["of the first", "through the link"]
