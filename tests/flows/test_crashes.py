"""Killed processes, full disks and unreachable storage leave no orphan process and no partial output."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from dcube.config.schema import Params
from dcube.repository.data_remote import push_results
from dcube.repository.experiments import save_experiment, share_experiment
from dcube.repository.repro import repro
from dcube.repository.workspace import workspace
from dcube.runtime import reaper, retries
from dcube.runtime.retries import RetryPolicy
from flows.pipeline import pipeline
from tests.support.checkout import ROOT
from tests.support.flow_runs import STAGES, task_states
from tests.support.raw_sets import class_folders
from tests.support.s3_server import S3Server
from tests.support.small_pipeline import alive, assert_gone, command, dvc, head

STARTER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may have it ignored
from dcube.runtime.processes import process_group
with process_group([sys.executable, "-c", sys.argv[1]]):
    print("started", flush=True)
    time.sleep(600)
"""
# Like torchrun, this program starts a worker in a session of its own.
PARENT_OF_A_SESSION = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
with open(os.environ["PIDS"], "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


class TestProcesses:
    @pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_processes_in_other_sessions_end_when_their_starter_ends(self, stop, tmp_path):
        pids = tmp_path / "pids.txt"
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, PARENT_OF_A_SESSION],
            env=os.environ | {"PIDS": str(pids), "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not (pids.exists() and pids.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert all(map(alive, map(int, pids.read_text().split())))
        starter.send_signal(stop)
        starter.wait(timeout=30)
        assert_gone(pids)

    def test_reaper_spares_processes_without_its_mark(self):
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        try:
            reaper.end("a-mark-of-nobody", grace_seconds=0.0)
            assert psutil.pid_exists(other.pid) and other.poll() is None
        finally:
            other.kill()
            other.wait()


class TestSharedStorage:
    @pytest.mark.slow
    def test_second_clone_reuses_results_from_the_bucket(
        self, repository, prefect_server, ran, s3_server: S3Server, tmp_path, monkeypatch
    ):
        """The two clones share only the bucket: cache, run cache and data come from it."""
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        first = pipeline(Params(), return_state=True)
        assert first.is_completed() and ran() == STAGES
        elsewhere = tmp_path / "elsewhere"
        command(tmp_path, "git", "clone", "--quiet", str(repository), str(elsewhere))
        shutil.rmtree(repository / ".dvc/cache")
        monkeypatch.chdir(elsewhere)
        second = pipeline(Params(), return_state=True)
        assert task_states(second) == {**dict.fromkeys(STAGES, "Cached"), **_share_of(second)}
        assert ran() == []
        assert head(elsewhere) == head(repository)

    @pytest.mark.slow
    def test_data_and_results_are_exchanged_through_the_bucket(
        self, repository, ran, s3_server, tmp_path, monkeypatch, run_dcube
    ):
        """Data go from the checkout that has them to a worker's clone, and the results come back."""
        assert run_dcube("data", "push")[0] == 2  # no bucket is configured yet
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        assert "3 objects were copied" in run_dcube("data", "push")[1]
        assert "had them all already" in run_dcube("data", "push")[1]
        worker = tmp_path / "worker"
        command(tmp_path, "git", "clone", "--quiet", str(repository), str(worker))
        with workspace(worker, "HEAD", "run", Params().to_yaml()) as folder:
            assert not repro("evaluate", folder, on_progress=print).failed
            save_experiment(worker, folder, "one", STAGES)
            push_results(folder)
            share_experiment(worker, "one")
        code, said = run_dcube("fetch", "another")
        assert code == 2 and "holds no experiment another" in said
        assert run_dcube("fetch", "one")[0] == 0
        shutil.rmtree(s3_server.folder / "team")
        dvc(repository, "exp", "apply", "one")
        assert (repository / "outputs/prepared").read_text() == "raw prepared"

    @pytest.mark.slow
    def test_run_waits_for_a_bucket_that_is_temporarily_unreachable(
        self, repository, prefect_server, ran, s3_server: S3Server, monkeypatch
    ):
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(retries, "WAIT_FOR_STORAGE", RetryPolicy(600, 1, 1))
        s3_server.stop()
        back = threading.Timer(15.0, s3_server.start)
        back.start()
        try:
            state = pipeline(Params(), return_state=True)
        finally:
            back.join()
        assert state.is_completed() and ran() == STAGES

    @pytest.mark.slow
    def test_wrong_storage_key_fails_in_one_line_before_any_stage(
        self, repository, prefect_server, ran, s3_server: S3Server, monkeypatch
    ):
        for name, value in (s3_server.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}).items():
            monkeypatch.setenv(name, value)
        state = pipeline(Params(), return_state=True)
        assert state.is_failed() and ran() == []
        assert "S3" in str(state.message) and "\n" not in str(state.message)


def _share_of(state) -> dict[str, str | None]:
    return {name: kind for name, kind in task_states(state).items() if name.startswith("share_results")}


CAN_MOUNT = subprocess.run(
    ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
)


@pytest.mark.skipif(CAN_MOUNT.returncode != 0, reason="needs to mount a file system of its own (unshare, mount)")
def test_full_disk_ends_in_one_line_without_partial_files(tmp_path, tracking_address):
    (tmp_path / "params.yaml").write_text(Params.model_validate({"data": {"name": "mine"}}).to_yaml())
    class_folders(tmp_path / "data/mine")
    (tmp_path / "outputs").mkdir()
    shutil.copytree(ROOT / "dcube", tmp_path / "dcube", ignore=shutil.ignore_patterns("__pycache__"))
    full = "mount -t tmpfs -o size=64k tmpfs outputs"
    script = f"{full} && {sys.executable} -m dcube.stages prepare; echo code $?; ls -A outputs"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "error: No space left on device" in done.stderr
    assert done.stdout.splitlines()[-1] == "code 2", done.stdout
