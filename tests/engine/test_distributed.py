"""Training with several real processes over gloo equals training with one; if one process ends, all end."""

import copy
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from safetensors.torch import load_file
from torch.testing import assert_close

from dcube.config.loading import params_from
from dcube.config.schema import Params
from dcube.engine import distributed
from dcube.engine.batch_sampler import DistributedBatchSampler
from dcube.engine.seeds import numpy_generator
from dcube.errors import DcubeError
from tests.support.checkout import ROOT
from tests.support.discs import TINY, write_dataset
from tests.support.small_pipeline import alive

# Tolerance of losses, metrics and weights between process counts, because float32 sums have another order.
TOLERANCE = 1e-3


# --- who sees what


@given(size=st.sampled_from([1, 2, 4]), shard=st.integers(1, 5), items=st.integers(20, 60), epoch=st.integers(0, 3))
def test_processes_share_each_epoch_in_the_order_of_one_process(size: int, shard: int, items: int, epoch: int) -> None:
    def order(epoch: int):
        return numpy_generator(0, "order", epoch).permutation(items)

    def batches(own_rank: int, processes: int) -> list[list[int]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distributed, "rank", lambda: own_rank)
            patch.setattr(distributed, "world_size", lambda: processes)
            sampler = DistributedBatchSampler(items, 4 * shard, order)
            first = epoch * sampler.steps_per_epoch
            return [sampler.at(step).tolist() for step in range(first, first + sampler.steps_per_epoch)]

    together = [list(itertools.chain(*shards)) for shards in zip(*(batches(r, size) for r in range(size)), strict=True)]
    assert together == batches(0, 1)
    seen = list(itertools.chain(*together))
    assert len(seen) == len(set(seen)) == items - items % (4 * shard)


def test_process_count_that_does_not_divide_the_batch_is_refused(monkeypatch) -> None:
    with pytest.raises(DcubeError, match=r"compute.processes \(3\) must divide classifier.batch_size \(8\)"):
        settings = {"diffusion": {"batch_size": 9}, "classifier": {"batch_size": 8}}
        params_from({"compute": {"processes": 3}, **settings}, where="params.yaml")
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    with pytest.raises(DcubeError, match="a batch of 18 images cannot be divided equally among 4 processes"):
        DistributedBatchSampler(18, 64, lambda epoch: [])


# --- a training of seconds


def start(folder: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    own = {"PYTHONPATH": str(ROOT), "DCUBE_CHECKPOINT_SECONDS": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env=os.environ | own | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=timeout)
    finally:
        process.terminate()
    return process.returncode, errors


def toy(folder: Path, processes: int, trouble: str = "") -> tuple[int, str]:
    return ended(start(folder, "tests.support.toy_training", str(folder), str(processes), trouble))


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory) -> Path:
    """The toy training in one process, without interruption."""
    folder = tmp_path_factory.mktemp("one")
    assert toy(folder, 1)[0] == 0
    return folder


def assert_same_result(folder: Path, other: Path) -> None:
    first, second = (load_file(each / "result.safetensors") for each in (folder, other))
    assert first.keys() == second.keys()
    for name in first:
        assert_close(first[name], second[name], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.slow
def test_training_is_resumed_with_other_process_counts(of_one_process: Path, tmp_path: Path) -> None:
    """If all processes find bad input, only one prints the error."""
    assert toy(tmp_path, 2, "bad-input") == (2, "error: this is wrong: mend it\n")
    assert toy(tmp_path, 1, "late-bad-input") == (2, "Toy: resumed at step 20 of 60\nerror: this is wrong: mend it\n")
    assert list(tmp_path.glob("toy/step-*40.safetensors"))
    assert toy(tmp_path, 4)[0] == 0
    assert_same_result(tmp_path, of_one_process)


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble, code, said",
    [
        ("killed@1", 128 + signal.SIGKILL, ""),
        ("bug@0", 1, "KeyError: 'nobody caught this'\n"),
        ("bad-input@1", 2, "error: this is wrong: mend it\n"),
    ],
)
def test_failure_of_one_process_ends_all_processes(trouble: str, code: int, said: str, tmp_path: Path) -> None:
    found, errors = toy(tmp_path, 2, trouble)
    assert found == code
    assert errors.endswith(said)
    if code != 128 + signal.SIGKILL:  # after a kill, torchrun may end the others before they print an error
        assert errors.count("Traceback") == (code != 2)


@pytest.mark.slow
def test_sigterm_to_the_launcher_ends_every_process(tmp_path: Path) -> None:
    launcher = start(tmp_path, "tests.support.toy_training", str(tmp_path), "2", "hang")
    assert launcher.stdout
    processes = [int(launcher.stdout.readline().split()[1]) for _ in range(2)]
    launcher.terminate()
    assert ended(launcher) == (128 + signal.SIGTERM, "")
    assert not any(map(alive, processes))


# --- torchrun itself


def torchrun(folder: Path, *words: str) -> subprocess.Popen[str]:
    # Without this variable, torch 2.15 keeps the store of the first attempt, and the second attempt hangs.
    return start(folder, "torch.distributed.run", *words, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")


@pytest.mark.slow
def test_two_nodes_restart_after_a_kill_and_equal_one_process(of_one_process: Path, tmp_path: Path) -> None:
    """The command of docs/how-to/several-gpus.md, with both nodes on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}",
        "--local-addr", "127.0.0.1", "--max-restarts", "1",
        "-m", "tests.support.toy_training", str(tmp_path), "1", "killed@1",
    ]  # fmt: skip
    nodes = [torchrun(tmp_path, *command) for _ in range(2)]
    outcomes = [ended(node) for node in nodes]
    assert [code for code, _ in outcomes] == [0, 0], outcomes
    assert_same_result(tmp_path, of_one_process)


# --- the trainings of this project


@pytest.mark.slow
def test_losses_and_metrics_are_equal_on_several_processes(tmp_path: Path) -> None:
    """The diffusion model and D-Cube run on 4 processes, the others, which share their training code, on 2."""
    write_dataset(tmp_path / "prepared")
    rows = {}
    for processes, trained in ((1, "ours,others"), (2, "others"), (4, "ours")):
        folder = tmp_path / str(processes)
        words = str(tmp_path / "prepared"), str(folder), str(processes), trained
        trainings = start(folder, "tests.support.distributed_trainings", *words, DCUBE_CHECKPOINT_SECONDS="60")
        code, errors = ended(trainings, timeout=600)
        assert code == 0, errors
        rows[processes] = json.loads((folder / "rows.json").read_text())
    assert {*rows[2], *rows[4]} == {*rows[1]} and {*rows[4]} == {"diffusion", "dcube"}
    for processes in (2, 4):
        for name, found in rows[processes].items():
            assert len(found) == len(rows[1][name]) >= 1
            for row, expected in zip(found, rows[1][name], strict=True):
                assert row == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE), (processes, name)


# --- the stages


def working_copy(folder: Path) -> Path:
    values = copy.deepcopy(TINY)
    values["compute"]["processes"] = 2
    write_dataset(folder / "outputs/prepared")
    (folder / "params.yaml").write_text(Params.model_validate(values).to_yaml())
    return folder


@pytest.mark.slow
def test_stage_starts_its_processes_and_logs_one_run(tmp_path: Path) -> None:
    folder = working_copy(tmp_path)
    code, errors = ended(start(folder, "dcube.stages", "train_baseline"), timeout=600)
    assert code == 0, errors
    assert (folder / "outputs/models/baseline/model.safetensors").exists()
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("dcube/discs").experiment_id])
    assert [name for run in runs if (name := run.info.run_name).startswith("train_")] == ["train_baseline"]
    assert {run.info.status for run in runs} == {"FINISHED"}
