"""Several processes against one: the same result, and the end of one is the end of all. Real processes, over gloo."""

import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from torch import Tensor

from dcube.classifier.training import ImageTable
from dcube.classifier.training import _Batches as ImageBatches
from dcube.config.loading import params_from
from dcube.config.schema import Classifier, Diffusion, Params
from dcube.diffusion.training import PairBatches
from dcube.engine.distributed import Share
from dcube.errors import DcubeError
from tests.support.checkout import ROOT
from tests.support.discs import TINY, write_dataset
from tests.support.small_pipeline import alive

# Sums of float32 in another order. AdamW's first steps turn a vanishing gradient's rounding into whole steps: at a
# usual learning rate two processes differ from one by up to 1e-3, as does one process with two threads. Hence a small
# learning rate where the sub-network is fine-tuned.
TOLERANCE = 1e-3
SMALL_RATE = 1e-5


def shares(total: int, processes: int) -> list[Share]:
    return [Share(total * r // processes, total * (r + 1) // processes, total) for r in range(processes)]


# --- who sees what


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_every_image_is_seen_once_an_epoch_whatever_the_number_of_processes(phantom_dataset, processes: int) -> None:
    rows = phantom_dataset.indices("train", labelled=False)
    pairs = PairBatches(phantom_dataset, rows, Diffusion(batch_size=18), torch.device("cpu"))
    order = ImageBatches(ImageTable.of_split(phantom_dataset, "train"), 16, 3, Classifier())
    seen: list[int] = []
    for step in range(pairs.steps_per_epoch):
        whole = pairs.at(step)
        parts = [pairs.at(step, share) for share in shares(18, processes)]
        for name in ("first", "second", "first_labels", "different"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
        seen += np.concatenate([share.of(order.at(step)) for share in shares(16, processes)]).tolist()
    assert sorted(seen) == list(range(48))


def test_more_processes_than_a_batch_has_images() -> None:
    with pytest.raises(DcubeError, match=r"compute.processes \(9\) exceeds a batch_size \(8\)"):
        params_from({"compute": {"processes": 9}, "classifier": {"batch_size": 8}}, where="params.yaml")


# --- a training of seconds


def start(module: str, folder: Path, *words: str, **options) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", module, *words], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def toy(folder: Path, processes: int, work: str, trouble: str = "") -> tuple[int, str]:
    words = str(folder), str(processes), work, trouble
    process = start("tests.support.toy_training", folder, *words, env={"DCUBE_CHECKPOINT_SECONDS": "0"})
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def assert_close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.slow
def test_a_training_of_three_processes_goes_on_in_one_and_ends_like_one_of_one(tmp_path: Path) -> None:
    """Losses, weights, averages, batch normalisation, dropout; and what one process says when it fails."""
    assert toy(tmp_path / "one", 1, "train")[0] == 0
    code, errors = toy(tmp_path / "three", 3, "train", "bad-input@1")
    assert (code, errors) == (2, "error: this is wrong: mend it\n")
    assert list(tmp_path.glob("three/toy/step-000000040.safetensors"))
    assert toy(tmp_path / "three", 1, "train")[0] == 0
    assert_close(*(load_file(tmp_path / folder / "result.safetensors") for folder in ("one", "three")))


@pytest.mark.parametrize(
    "trouble, code, said",
    [
        ("bad-input", 2, "error: this is wrong: mend it\n"),
        ("bug@0", 1, "KeyError: 'nobody caught this'\n"),
        ("killed@1", 128 + signal.SIGKILL, ""),
    ],
)
def test_what_ends_one_process_ends_all(trouble: str, code: int, said: str, tmp_path: Path) -> None:
    found, errors = toy(tmp_path, 2, "count", trouble)
    assert found == code
    assert errors.endswith(said)
    assert errors.count("Traceback") == (code != 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_launcher_reaches_every_process(number: int, tmp_path: Path) -> None:
    launcher = start("tests.support.toy_training", tmp_path, str(tmp_path), "2", "count", "hang")
    assert launcher.stdout
    processes = [int(launcher.stdout.readline().split()[1]) for _ in range(2)]
    launcher.send_signal(number)
    if number == signal.SIGTERM:
        for process in processes:  # whoever ends a run may ask every process of it, too
            os.kill(process, number)
    _, errors = launcher.communicate(timeout=60)
    assert (launcher.returncode, errors) == (128 + number if number == signal.SIGTERM else -number, "")
    deadline = time.monotonic() + 10
    while any(map(alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "closed").exists(), "the first process closes what is open"


# --- the stages


def working_copy(folder: Path, processes: int) -> Path:
    write_dataset(folder / "outputs/prepared")
    set_processes(folder, processes)
    return folder


def set_processes(folder: Path, processes: int) -> None:
    values = copy.deepcopy(TINY)
    values["compute"]["processes"] = processes
    values["classifier"]["learning_rate"] = values["baseline"]["learning_rate"] = SMALL_RATE
    (folder / "params.yaml").write_text(Params.model_validate(values).to_yaml())


def run_stage(folder: Path, *command: str) -> None:
    module, *words = command
    process = start(f"dcube.stages.{module}", folder, *words)
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors


def tables_agree(one: Path, other: Path) -> None:
    for name in ("history.csv", "validation.csv"):
        first, second = pd.read_csv(one / name), pd.read_csv(other / name)
        pd.testing.assert_frame_equal(first, second, rtol=TOLERANCE, atol=TOLERANCE)
    assert_close(load_file(one / "model.safetensors"), load_file(other / "model.safetensors"))


@pytest.mark.slow
def test_both_trainings_in_two_processes_end_as_in_one(tmp_path: Path) -> None:
    """Losses, FID, KID, validation metrics and averaged weights; the head has dropout and batch normalisation."""
    one, two = working_copy(tmp_path / "one", 1), working_copy(tmp_path / "two", 2)
    for folder in (one, two):
        run_stage(folder, "train_diffusion")
    tables_agree(one / "outputs/diffusion", two / "outputs/diffusion")
    run_stage(one, "select_features")
    for stage in ("diffusion", "features"):  # stage 2 starts from the same weights in both
        shutil.copytree(one / f"outputs/{stage}", two / f"outputs/{stage}", dirs_exist_ok=True)
    for kind in (["train_classifier"], ["train_baseline", "baseline"]):
        for folder in (one, two):
            run_stage(folder, *kind)
        name = kind[-1] if len(kind) > 1 else "dcube"
        tables_agree(one / "outputs/models" / name, two / "outputs/models" / name)
    client = MlflowClient(f"sqlite:///{two / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("dcube/discs").experiment_id])
    names = [run.info.run_name for run in runs if run.info.run_name.startswith("train_")]
    assert sorted(names) == ["train_baseline@baseline", "train_classifier", "train_diffusion"], "one run a stage"
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    one, other = working_copy(tmp_path / "one", 1), working_copy(tmp_path / "other", 2)
    for folder in (one, other):
        run_stage(folder, "train_diffusion")
    (checkpoints,) = (other / ".dcube/checkpoints").iterdir()
    max(checkpoints.glob("*.sha256")).unlink()
    shutil.rmtree(other / "outputs/diffusion")
    set_processes(other, 3)
    run_stage(other, "train_diffusion")
    assert list((other / ".dcube/checkpoints").iterdir()) == [checkpoints], "the same training"
    tables_agree(one / "outputs/diffusion", other / "outputs/diffusion")


@pytest.mark.slow
def test_bad_input_in_several_processes_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    folder = working_copy(tmp_path, 2)
    shutil.rmtree(folder / "outputs/prepared")
    process = start("dcube.stages.train_diffusion", folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    said = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "outputs/prepared holds no prepared data set" in said[0]
