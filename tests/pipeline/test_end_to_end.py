"""The pipeline as a person runs it: `dvc` in a fresh clone, small parameters. Each test takes minutes."""

import csv
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dcube.artifacts.layout import DIFFUSION, EVALUATION, HEADLINE, MODELS, PARAMS
from dcube.engine.trainer import STEPS_PER_ROW
from dcube.runtime.settings import read_settings
from tests.support.working_copy import LONGEST, WorkingCopy, finish, kill

pytestmark = pytest.mark.slow

CANDIDATES = ("imagenet_probe", "dcube", "untrained_uvit", "sub_features", "baseline")


def step(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("step-"))


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LONGEST
    while not reached():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def same_files(one: WorkingCopy, other: WorkingCopy, folder: Path) -> None:
    """Compare all files but the model card, which names its commit."""
    mine, theirs = (
        {file.name: file.read_bytes() for file in (copy.folder / folder).iterdir() if file.name != "model_card.md"}
        for copy in (one, other)
    )
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []


@pytest.fixture
def own(fresh: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    return fresh.copy(tmp_path / "own")


# --- what is rerun, and what DVC can tell


def test_no_change_reruns_nothing_and_a_new_comment_only_its_stage(complete: WorkingCopy, tmp_path: Path) -> None:
    copy = complete.copy(tmp_path / "own")
    again = copy.dvc("repro")
    assert again.ran == set() and "up to date" in again.output
    with (copy.folder / "dcube/stages/select_features.py").open("a") as module:
        module.write("# A comment.\n")
    assert copy.dvc("repro").ran == {"select_features"}, "its outputs have the bytes of before"


def test_experiment_reruns_dependent_stages_and_can_be_compared(complete: WorkingCopy, tmp_path: Path) -> None:
    copy, file = complete.copy(tmp_path / "own"), f"{EVALUATION}/baseline/{HEADLINE}"
    changed = copy.dvc("exp", "run", "--name", "longer", "-S", "baseline.epochs=3")
    assert changed.ran == {"train_baseline", "evaluate@baseline", "register"}
    before, after = (json.loads((one.folder / file).read_text())["baseline"]["auroc"] for one in (complete, copy))
    differences = json.loads(copy.dvc("metrics", "diff", "--all", "--json").output)
    assert {f"{EVALUATION}/{name}/{HEADLINE}" for name in CANDIDATES} < set(differences)
    shown = differences[file]["baseline.auroc"]
    assert (shown["old"], shown["new"]) == pytest.approx((before, after))
    copy.dvc("plots", "show", "--out", "shown")
    assert "vegaEmbed" in (copy.folder / "shown/index.html").read_text()
    table = csv.DictReader(copy.dvc("exp", "show", "--csv").output.splitlines())
    (row,) = (row for row in table if row["Experiment"] == "longer")
    assert float(row["baseline.auroc"]) == pytest.approx(after)


# --- kills


def start_and_kill(copy: WorkingCopy, training: str, new: int, delay: float = 0.0) -> list[Path]:
    """Kill a training `delay` seconds after `new` more checkpoints; return the new ones, oldest first."""
    before, written = copy.checkpoints(training), set[Path]()
    process = copy.start("dvc", "repro", training)

    def enough() -> bool:
        written.update(copy.checkpoints(training) - before)
        return len(written) >= new and any((copy.folder / read_settings().checkpoints).glob(f"{training}-*/*"))

    wait_for(enough, process)
    time.sleep(delay)
    kill(process)
    return sorted(written | (copy.checkpoints(training) - before), key=step)


def finish_beside_a_second(copy: WorkingCopy, training: str) -> None:
    """Let a training end; meanwhile a second command that wants the same is refused."""
    before = copy.checkpoints(training)
    first = copy.start("dvc", "repro", training)
    wait_for(lambda: bool(copy.checkpoints(training) - before), first)
    first.send_signal(signal.SIGSTOP)  # or it might end before the second has begun
    assert "busy" in copy.dvc("repro", training, fails=True).errors
    first.send_signal(signal.SIGCONT)
    ended = finish(first)
    assert ended.code == 0, ended


def test_killed_training_resumes_and_ends_bit_for_bit_identical(complete: WorkingCopy, own: WorkingCopy) -> None:
    for training in ("train_diffusion", "train_classifier"):
        for new, delay in ((0, 0.0), (2, 0.1)):
            newest = max(map(step, own.checkpoints(training)), default=0)
            for checkpoint in start_and_kill(own, training, new, delay)[:1]:
                assert newest < step(checkpoint) <= newest + STEPS_PER_ROW, "it did not go on where it was"
        finish_beside_a_second(own, training)
    own.dvc("repro", "evaluate@dcube")
    assert not own.checkpoints("train_*"), "nobody needs those of a training that DVC has recorded"
    same_files(own, complete, DIFFUSION)
    same_files(own, complete, MODELS / "dcube")
    same_files(own, complete, EVALUATION / "dcube")
    client = MlflowClient(f"sqlite:///{own.folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("dcube/phantom").experiment_id])
    stages = ["prepare", "train_diffusion", "select_features", "synthesize", "train_classifier", "evaluate@dcube"]
    assert sorted(run.info.run_name for run in runs if not run.info.run_name.startswith("pipeline")) == sorted(stages)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_changed_parameters_after_a_kill_start_a_new_training(own: WorkingCopy) -> None:
    newest = start_and_kill(own, "train_diffusion", new=2)[-1]
    own.set_params(diffusion={"seed": 1})
    other = start_and_kill(own, "train_diffusion", new=1)[0]
    assert other.parent != newest.parent and step(other) <= STEPS_PER_ROW < step(newest)
    own.set_params()
    again = start_and_kill(own, "train_diffusion", new=1)[0]
    assert again.parent == newest.parent and step(again) > step(newest)


# --- mistakes


def test_wrong_parameter_ends_in_one_line(own: WorkingCopy) -> None:
    file = own.folder / PARAMS
    file.write_text(file.read_text().replace("width: 32", "width: 33"))
    failed = own.dvc("repro", fails=True)
    errors = [line for line in failed.errors.splitlines() if line.startswith("error: ")]
    assert errors == ["error: params.yaml: diffusion.width: input should be a multiple of 8 (got 33)"]
    assert "Traceback" not in failed.errors
