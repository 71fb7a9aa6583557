"""`dcube doctor` removes what a crash left behind, and leaves running processes alone."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from dvc.repo import Repo

from dcube.artifacts.schemas.registered import Registered
from dcube.config.schema import Data
from dcube.data.privacy import read_private_dataset
from dcube.errors import DcubeError
from dcube.runtime.processes import process_group
from tests.support.small_pipeline import dvc


def lock_for(repository: Path, pid: int) -> Path:
    rwlock = repository / ".dvc/tmp/rwlock"
    rwlock.write_text(json.dumps({"read": {"data": [{"pid": pid, "cmd": "dvc repro"}]}, "write": {}}))
    return rwlock


@pytest.mark.slow
def test_doctor_repairs_a_working_copy_after_a_crash(repository, ran, run_dcube, tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_PROGRESS_FILE", str(tmp_path / "progress.jsonl"))
    dvc(repository, "repro", "--quiet", "prepare")
    lock = repository / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[:40])
    (repository / ".dvc/tmp/rwlock").write_text('{"write": {')
    (repository / ".git/index.lock").touch()
    with pytest.raises(subprocess.CalledProcessError):
        dvc(repository, "repro", "--quiet", "prepare")
    code, said = run_dcube("doctor")
    assert code == 0 and all(f"removed {name}, " in said for name in ("index.lock", ".dvc/tmp/rwlock", "dvc.lock"))
    dvc(repository, "repro", "--quiet", "prepare")
    assert lock.read_bytes() == whole and ran() == ["prepare"], "the run cache knows the result"
    assert run_dcube("doctor") == (0, "nothing to repair\n")


def test_data_set_that_a_killed_replacement_set_aside_is_restored(repository, run_dcube):
    (repository / "data/.ward.old.partial").mkdir(parents=True)
    (repository / "data/.ward.old.partial/a.png").write_bytes(b"x")
    with pytest.raises(DcubeError, match=r"data/ward is missing: .* `dcube doctor` restores it"):
        read_private_dataset(Path("data/ward"), Data(name="ward"))
    code, said = run_dcube("doctor")
    assert code == 0 and "restored data/ward, which an interrupted `dcube data add` had set aside" in said
    assert [file.name for file in (repository / "data/ward").iterdir()] == ["a.png"]
    assert run_dcube("doctor") == (0, "nothing to repair\n")


@pytest.mark.parametrize("size", [0, 12, 30, 60])
def test_torn_record_of_the_data_is_named_with_its_mend(size, repository, run_dcube):
    record = repository / "data.dvc"
    record.write_bytes(record.read_bytes()[:size])
    code, said = run_dcube("doctor")
    assert code == 2 and "data.dvc is torn: `git checkout data.dvc`" in said and said.count("\n") == 1, said


@pytest.mark.parametrize("size", [3_000, 200_000])
def test_torn_database_of_mlflow_is_named_in_one_line(size, repository, run_dcube):
    database = repository / "mlflow.db"
    database.write_bytes(database.read_bytes()[:size])
    for command in (("doctor",), ("models", "dcube-small")):
        code, said = run_dcube(*command)
        assert code == 2 and f"{database} is damaged" in said and said.count("\n") == 1, said


def test_lock_of_a_running_dvc_is_kept_and_of_a_dead_one_removed(repository, run_dcube):
    rwlock = lock_for(repository, os.getpid())
    code, said = run_dcube("doctor")
    assert code == 2 and f"wait for dvc repro (process {os.getpid()})" in said and rwlock.exists()
    lock_for(repository, 2**22 + 1)  # greater than any process id
    assert run_dcube("doctor")[0] == 0 and not rwlock.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("done", "reason"),
    [
        ("freeze prepare", "dvc.yaml: prepare is frozen, and DVC never runs it: `dvc unfreeze prepare`"),
        ("move data elsewhere", "data, which prepare reads, is not in this revision: `dvc move elsewhere data`"),
    ],
)
def test_doctor_says_how_to_undo_what_stops_every_stage(
    repository, ran, run_dcube, done, reason, monkeypatch, tmp_path
):
    monkeypatch.setenv("DCUBE_PROGRESS_FILE", str(tmp_path / "progress.jsonl"))
    dvc(repository, *done.split())
    with pytest.raises(subprocess.CalledProcessError):
        dvc(repository, "repro", "prepare")
    code, said = run_dcube("doctor")
    assert code == 2 and f"error: {reason}\n" in said
    dvc(repository, *reason.split("`dvc ")[1].rstrip("`").split())
    dvc(repository, "repro", "prepare")
    assert ran() == ["prepare"] and run_dcube("doctor")[0] == 0


def test_lock_of_a_running_git_commit_is_kept(repository, run_dcube):
    (repository / "stage.py").write_text("changed")
    lock = repository / ".git/index.lock"
    editor = os.environ | {"GIT_EDITOR": "sleep 60;"}
    with process_group(["git", "commit", "--all"], cwd=repository, env=editor, stdout=subprocess.DEVNULL) as commit:
        while not lock.exists():
            assert commit.poll() is None
            time.sleep(0.01)
        code, said = run_dcube("doctor")
        assert code == 2 and f"wait for `git commit --all` (process {commit.pid})" in said and lock.exists()
        commit.kill()
        commit.wait()
        assert "removed index.lock" in run_dcube("doctor")[1] and not lock.exists()


REGISTER = """
  register:
    cmd: "echo ran >> times; mkdir -p outputs/registered; cp record.json outputs/registered/registered.json"
    deps: [record.json]
    outs: [{outputs/registered: {persist: true}}]
"""


def test_versions_missing_in_the_registry_are_registered_again(repository, run_dcube):
    """Without `dcube doctor`, DVC would see an unchanged record and skip the stage."""

    def repro() -> int:
        with Repo() as repo:
            repo.reproduce("register")
        return len((repository / "times").read_text().split())

    Registered(name="dcube-small", versions={"dcube": 1}, aliases={}, challenger=None).save(repository / "record.json")
    with (repository / "dvc.yaml").open("a") as graph:
        graph.write(REGISTER)
    assert repro() == repro() == 1
    code, said = run_dcube("doctor")
    assert code == 0 and "names versions of dcube-small that are not in sqlite" in said and "dvc repro" in said
    assert repro() == 2, "not taken from the run cache"
