"""Unusual machines: another user's repository, an account without a name, a proxy that reaches no local server."""

import os
import pwd
import shutil
import subprocess
import sys

import pytest

from dcube.errors import DcubeError
from dcube.repository.workspace import workspace
from dcube.runtime.processes import child_environment
from dcube.stages.process.running import run
from dcube.tracking import lineage
from dcube.tracking.mlflow_client import tracking_client, tracking_uri


def test_repository_of_another_user_is_refused_with_a_hint(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    assert lineage.git_commit() == "none", "no commit yet"
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(DcubeError, match=f"git config --global --add safe.directory '{tmp_path}'"):
        lineage.git_commit()


def test_stage_refuses_the_repository_of_another_user_before_its_work(tmp_path, monkeypatch, capsys):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SystemExit, match="2"):
        run(lambda: pytest.fail("it worked"))
    assert "safe.directory" in capsys.readouterr().err


def test_database_works_in_a_folder_with_special_characters(mlflow_database, tmp_path, monkeypatch):
    folder = tmp_path / "a b%#"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copyfile(mlflow_database, "mlflow.db")
    tracking_client().create_experiment("x")
    assert [file.name for file in folder.iterdir()] == ["mlflow.db"]
    (folder / "why?").mkdir()
    monkeypatch.chdir(folder / "why?")
    with pytest.raises(DcubeError, match="rename the folder"):
        tracking_uri()


def test_submodule_is_refused_with_a_hint(tmp_path):
    def git(folder: str, *words: str) -> None:
        settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
        subprocess.run(["git", *settings, "-C", tmp_path / folder, *words], check=True, capture_output=True)

    for name in ("inner", "outer"):
        subprocess.run(["git", "init", "--quiet", tmp_path / name], check=True)
        git(name, "commit", "--allow-empty", "-m", "first")
    git("outer", "submodule", "add", str(tmp_path / "inner"), "sub")
    with pytest.raises(DcubeError, match="clone it by itself"):
        with workspace(tmp_path / "outer/sub", "HEAD", "run", ""):
            pass


def test_mlflow_telemetry_is_off():
    known = (
        "CI",
        "GITHUB_ACTIONS",
        "PYTEST_CURRENT_TEST",
        "PYTEST_VERSION",
    )  # with these, MLflow sends no telemetry anyway
    code = (
        "from dcube.runtime.processes import prepare_process\n"
        "prepare_process()\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "print(get_telemetry_client())"
    )
    environment = {name: value for name, value in os.environ.items() if name not in known} | {"DO_NOT_TRACK": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "None\n"


def test_account_without_a_name_is_named_by_its_user_id(run_dcube, tmp_path, monkeypatch):
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert child_environment()["USER"] == f"user-{os.getuid()}" and child_environment()["NO_PROXY"] == "*"
    code, shown = run_dcube("models", "x")  # git, DVC and MLflow ask for the account's name
    assert code == 2 and "mlflow.db is missing" in shown and lineage.person() == f"user-{os.getuid()}"


def test_local_servers_are_reached_without_the_proxy(mlflow_server, run_dcube, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "intern.example")
    monkeypatch.setenv("no_proxy", "")
    code, shown = run_dcube("models", "nothing")
    assert code == 2 and "no registered model 'nothing'" in shown
    assert child_environment()["NO_PROXY"] == "intern.example,localhost,127.0.0.1,::1"
