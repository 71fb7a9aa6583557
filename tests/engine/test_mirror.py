"""Checkpoints on a real S3 server: other machines resume from them, and server failures do not stop a training."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from botocore.config import Config

from dcube.engine.checkpoints import Checkpoints
from dcube.errors import DcubeError
from dcube.runtime import checkpoint_sync, retries
from dcube.runtime import s3 as storage_module
from dcube.runtime.checkpoint_sync import CheckpointSync
from dcube.runtime.ports import free_port
from dcube.runtime.retries import RetryPolicy
from tests.support.regression import Killed, assert_same, damage, fit
from tests.support.s3_server import S3Server
from tests.support.waiting import wait_until


@pytest.fixture
def server(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        storage_module, "CLIENT", storage_module.CLIENT.merge(Config(retries={"total_max_attempts": 1}))
    )
    monkeypatch.setattr(retries, "UPLOAD_CHECKPOINT", RetryPolicy(None, first_pause=0.1, longest_pause=0.2))
    monkeypatch.setattr(retries, "FETCH_CHECKPOINT", RetryPolicy(150, first_pause=0.1, longest_pause=0.1))
    return s3_server


def here(folder: Path) -> Checkpoints:
    return Checkpoints(folder, "toy", CheckpointSync.configured("toy"))


def mirrored(server: S3Server) -> list[str]:
    return sorted(path.name for path in (server.folder / "team/project/checkpoints/toy").glob("*"))


def save(checkpoints: Checkpoints, step: int, numbers: int = 10) -> None:
    checkpoints.save(step, {"w": torch.full((numbers,), float(step))}, {})


def saved_on_the_way(folder: Path, server: S3Server, steps: list[int]) -> None:
    """Save checkpoints as on one machine and wait until each is on the server."""
    checkpoints = here(folder)
    with checkpoints.synced():
        for step in steps:
            save(checkpoints, step)
            wait_until(lambda step=step: f"step-{step:09d}.sha256" in mirrored(server))


def step_of(checkpoints: Checkpoints) -> int:
    found = checkpoints.latest()
    assert found
    tensors, state = found
    assert tensors["w"][0].item() == state["step"]
    return state["step"]


# --- servers that answer


def test_last_two_checkpoints_are_kept_on_s3(server: S3Server, tmp_path: Path) -> None:
    saved_on_the_way(tmp_path / "one", server, [1, 2, 3])
    assert mirrored(server) == sorted(path.name for path in (tmp_path / "one/toy").iterdir())
    assert mirrored(server) == [f"step-00000000{n}.{kind}" for n in (2, 3) for kind in ("safetensors", "sha256")]


def test_killed_training_resumed_on_other_machines_is_bit_identical(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fit(tmp_path / "undisturbed")
    monkeypatch.setenv("DCUBE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(
        "tests.support.regression.Checkpoints",
        lambda folder, key: Checkpoints(folder, key, CheckpointSync.configured(key)),
    )
    for machine, step in enumerate([45, 77]):
        with pytest.raises(Killed):
            fit(tmp_path / f"machine {machine}", die_at=step)
    assert {"step-000000075.safetensors", "step-000000075.sha256"} < set(mirrored(server))
    assert_same(fit(tmp_path / "the last machine"), undisturbed)


def test_only_newer_checkpoints_are_fetched(server: S3Server, tmp_path: Path) -> None:
    saved_on_the_way(tmp_path / "one", server, [1, 2])
    save(Checkpoints(tmp_path / "two", "toy"), 3)
    assert step_of(here(tmp_path / "two")) == 3
    save(Checkpoints(tmp_path / "three", "toy"), 1)
    assert step_of(here(tmp_path / "three")) == 2
    assert step_of(Checkpoints(tmp_path / "three", "toy")) == 2, "what was fetched stays"


def test_large_checkpoint_survives_multipart_upload(server: S3Server, tmp_path: Path) -> None:
    checkpoints = here(tmp_path / "one")
    with checkpoints.synced():
        save(checkpoints, 7, numbers=6_000_000)
    assert step_of(here(tmp_path / "two")) == 7


def test_checkpoints_are_not_synced_without_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DCUBE_STORAGE", raising=False)
    assert CheckpointSync.configured("toy") is None


# --- damage


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "unfinished", "gone"])
def test_damaged_checkpoint_on_s3_falls_back_to_the_previous_one(
    how: str, server: S3Server, tmp_path: Path, caplog
) -> None:
    saved_on_the_way(tmp_path / "one", server, [1, 2])
    newest = server.folder / "team/project/checkpoints/toy/step-000000002.safetensors"
    if how == "unfinished":
        newest.with_suffix(".sha256").unlink()
    elif how == "gone":
        newest.unlink()
    else:
        damage(newest, how)
    server.stop()  # because it caches objects for some seconds
    server.start()
    assert step_of(here(tmp_path / "two")) == 1
    assert not list(tmp_path.glob("two/toy/.*"))
    if how in ("flipped", "cut", "empty"):
        assert "step-000000002.safetensors on S3 is damaged" in caplog.text


def test_damaged_local_checkpoint_is_fetched_again_from_s3(server: S3Server, tmp_path: Path) -> None:
    saved_on_the_way(tmp_path, server, [1, 2])
    for path in (tmp_path / "toy").glob("*.safetensors"):
        damage(path, "flipped")
    assert step_of(here(tmp_path)) == 2


# --- servers that fail


def test_training_continues_while_s3_is_unavailable(server: S3Server, tmp_path: Path, capsys) -> None:
    checkpoints = here(tmp_path / "one")
    with checkpoints.synced():
        save(checkpoints, 1)
        wait_until(lambda: "step-000000001.sha256" in mirrored(server))
        server.stop()
        for step in (2, 3, 4):
            start = time.monotonic()
            save(checkpoints, step)
            assert time.monotonic() - start < 1
            time.sleep(0.3)
        server.start()
        wait_until(lambda: "step-000000004.sha256" in mirrored(server))
    said = capsys.readouterr().err
    assert said.count("warning: checkpoints stay on this machine for now") == 1
    assert said.count("checkpoint upload works again") == 1
    assert "step-000000003.sha256" not in mirrored(server), "the newest wins"
    assert step_of(here(tmp_path / "two")) == 4


@pytest.mark.parametrize("interrupted, most", [(False, 3.0), (True, 1.0)])
def test_unavailable_s3_delays_the_end_for_a_limited_time(
    interrupted: bool, most: float, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(checkpoint_sync, "TIMEOUT_AT_END", 2.0)
    monkeypatch.setattr(checkpoint_sync, "TIMEOUT_WHEN_INTERRUPTED", 0.5)
    checkpoints = here(tmp_path)
    server.stop()
    start = time.monotonic()
    try:
        with checkpoints.synced():
            save(checkpoints, 1)
            if interrupted:
                raise Killed
    except Killed:
        pass
    assert time.monotonic() - start < most
    assert "the newest checkpoint did not reach S3" in capsys.readouterr().err


@pytest.mark.slow
def test_start_waits_for_s3_and_then_continues_without_it(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    saved_on_the_way(tmp_path / "one", server, [1, 2])
    server.stop()
    threading.Timer(2, server.start).start()
    assert step_of(here(tmp_path / "two")) == 2
    assert caplog.text.count("waiting for the checkpoints on S3") == 1
    server.stop()
    monkeypatch.setattr(retries, "FETCH_CHECKPOINT", RetryPolicy(0.5, first_pause=0.1, longest_pause=0.1))
    assert here(tmp_path / "three").latest() is None
    assert step_of(here(tmp_path / "one")) == 2
    assert "continuing without the checkpoints on S3" in caplog.text


@pytest.mark.parametrize("variable, value", [("AWS_SECRET_ACCESS_KEY", "another"), ("DCUBE_STORAGE", "s3://elsewhere")])
def test_wrong_storage_setting_is_refused_at_the_start(
    variable: str, value: str, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(DcubeError, match=f"correct {variable}"):
        here(tmp_path).latest()


STUCK = """
import sys, torch
from pathlib import Path
from dcube.engine.checkpoints import Checkpoints
from dcube.runtime.checkpoint_sync import CheckpointSync
from dcube.runtime.retries import RetryPolicy
checkpoints = Checkpoints(Path(sys.argv[1]), "toy", CheckpointSync.configured("toy"))
with checkpoints.synced():
    checkpoints.save(1, {"w": torch.zeros(5_000_000)}, {})
    raise SystemExit(7)
"""


@pytest.mark.slow
def test_hanging_s3_server_does_not_keep_the_process_alive(server: S3Server, tmp_path: Path) -> None:
    """The server accepts connections but never answers, so only the exit of the process ends the upload."""
    with socket.create_server(("127.0.0.1", free_port())) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", STUCK, str(tmp_path)],
            env=os.environ | {"AWS_ENDPOINT_URL": endpoint},
            timeout=60,
        )
    assert ended.returncode == 7
    assert time.monotonic() - start < 45
