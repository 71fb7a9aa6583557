"""Each command that writes, killed at a random moment, tears nothing, and another try ends as if nothing had happened.

`TEST_KILLS=14 pytest -m slow tests/pipeline/test_kills.py` kills each of the seven commands fourteen times. Without
the variable, three of them are killed once.
"""

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from dcube.artifacts.dvc_files import parse_lock
from dcube.artifacts.layout import LOCK, PARAMS, PLAN, RAW, REGISTERED, VERSIONS
from dcube.config.loading import load_params
from dcube.tracking.tags import WEIGHTS
from tests.support.raw_sets import class_folders
from tests.support.working_copy import WorkingCopy, finish, kill

# All begin with a copy of `complete`: named here, it is not made again by another process (`tests/conftest.py`).
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("complete")]

KILLS = int(os.environ.get("TEST_KILLS", "1"))
DCUBE = (sys.executable, "-m", "dcube.cli")
MODEL, SCANS, OTHER, PREDICTED, PAGE = "dcube-phantom", "scans", "other", "predicted.csv", "report.html"
IMAGES = "data/phantom/normal"
PROMOTE = ["minimum_improvement=-1", "sensitivity_margin=1", "calibration_loss=1"]


# --- what a command has written, by name; each function fails if something is torn


def data_set(copy: WorkingCopy) -> dict[str, object]:
    files = sorted(file for file in (copy.folder / RAW / SCANS).rglob("*") if file.is_file())
    hashes = [f"{file.relative_to(copy.folder)} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
    return {"files": hashes}


def plan(copy: WorkingCopy) -> dict[str, object]:
    load_params(copy.folder / PARAMS)
    file = copy.folder / PLAN
    return {"plan": json.loads(file.read_text()) is not None if file.exists() else None}


def outputs(copy: WorkingCopy) -> dict[str, object]:
    """Hashes of all outputs but the numbers of the versions."""
    recorded = parse_lock((copy.folder / LOCK).read_text(), str(LOCK)).outputs
    return {path: str(digest) for path, digest in recorded.items() if path != str(REGISTERED)}


def versions(copy: WorkingCopy) -> dict[str, object]:
    """The weights of each candidate's version."""
    file, client = copy.folder / REGISTERED / VERSIONS, registry(copy)
    numbers = json.loads(file.read_text())["versions"] if file.exists() else {}
    runs = {name: client.get_model_version(MODEL, number).run_id for name, number in numbers.items()}
    return {name: client.get_run(run).data.tags[WEIGHTS] for name, run in runs.items()}


def champion(copy: WorkingCopy) -> dict[str, object]:
    copy.run(*DCUBE, "models", "--history")
    return {"champion": registry(copy).get_model_version_by_alias(MODEL, "champion").version}


def predictions(copy: WorkingCopy) -> dict[str, object]:
    file = copy.folder / PREDICTED
    return {"rows": pd.read_csv(file).drop(columns="predicted_at").to_csv() if file.exists() else None}


def page(copy: WorkingCopy) -> dict[str, object]:
    file = copy.folder / PAGE
    return {"whole": file.read_text().rstrip().endswith("</html>") if file.exists() else None}


def registry(copy: WorkingCopy) -> MlflowClient:
    return MlflowClient(f"sqlite:///{copy.folder / 'mlflow.db'}")


# --- commands and where they start


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        start: fixture of the working copy in which it starts.
        words: its command line.
        written: one of the functions above.
    """

    start: str
    words: Sequence[str]
    written: Callable[[WorkingCopy], dict[str, object]]


COMMANDS = {
    "data add": Command("complete", [*DCUBE, "data", "add", SCANS, OTHER, "--replace"], data_set),
    "plan": Command("complete", [*DCUBE, "plan", "phantom", "--minutes", "60", "--replace"], plan),
    "repro": Command("changed", ["dvc", "repro", "evaluate"], outputs),
    "register": Command("evaluated", ["dvc", "repro", "register"], versions),
    "promote": Command("contested", [*DCUBE, "promote", "--yes", *(f"--set={one}" for one in PROMOTE)], champion),
    "predict": Command(
        "complete", [*DCUBE, "predict", f"{MODEL}@champion", IMAGES, "--output", PREDICTED], predictions
    ),
    "report": Command("complete", [*DCUBE, "report", "--output", PAGE], page),
}
SAMPLE = ("data add", "predict", "report")


def with_data_sets(copy: WorkingCopy) -> WorkingCopy:
    """Write a data set beside the working copy's own, and an older one of the same name as the copy of it."""
    class_folders(copy.folder / OTHER)
    class_folders(copy.folder / RAW / SCANS, images=9)
    return copy


@pytest.fixture(scope="module")
def changed(complete: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """The parameters ask for other classifiers."""
    copy = complete.copy(tmp_path_factory.mktemp("changed") / "copy")
    copy.set_params(classifier={"seed": 1}, baseline={"seed": 1})
    return copy


@pytest.fixture(scope="module")
def evaluated(changed: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """The other classifiers are trained and evaluated, and not registered."""
    copy = changed.copy(tmp_path_factory.mktemp("evaluated") / "copy")
    copy.dvc("repro", "evaluate")
    return copy


@pytest.fixture(scope="module")
def contested(evaluated: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """One of the other classifiers is the challenger."""
    copy = evaluated.copy(tmp_path_factory.mktemp("contested") / "copy")
    copy.dvc("repro")
    return copy


@dataclass(frozen=True)
class Undisturbed:
    seconds: float
    before: dict[str, object]
    after: dict[str, object]


@pytest.fixture(scope="module", params=COMMANDS if "TEST_KILLS" in os.environ else SAMPLE)
def command(request: pytest.FixtureRequest) -> Command:
    return COMMANDS[request.param]


@pytest.fixture(scope="module")
def start(command: Command, request: pytest.FixtureRequest) -> WorkingCopy:
    return request.getfixturevalue(command.start)


@pytest.fixture(scope="module")
def undisturbed(command: Command, start: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    copy = with_data_sets(start.copy(tmp_path_factory.mktemp("undisturbed") / "copy"))
    before, began = command.written(copy), time.monotonic()
    copy.run(*command.words)
    return Undisturbed(time.monotonic() - began, before, command.written(copy))


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_command_tears_nothing_and_another_try_ends_right(
    command: Command, start: WorkingCopy, undisturbed: Undisturbed, seed: int, tmp_path: Path
) -> None:
    copy = with_data_sets(start.copy(tmp_path / "copy"))
    process = copy.start(*command.words)
    time.sleep(random.Random(f"{command.words}{seed}").uniform(0, undisturbed.seconds))
    kill(process)
    for name, found in command.written(copy).items():
        assert found in (undisturbed.before.get(name), undisturbed.after[name])
    if command.written(copy) != undisturbed.after and finish(copy.start(*command.words)).code:
        copy.run(*DCUBE, "doctor")
        copy.run(*command.words)
        if command.written is outputs:  # a torn dvc.lock is removed; DVC still knows the results of the other stages
            assert copy.dvc("repro", "track_fid", "probe").ran == set()
    assert command.written(copy) == undisturbed.after
