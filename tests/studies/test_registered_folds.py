"""The folds of a real study become one registered version: computed, registered, used, traced, and lost again."""

import shutil
import sys

import pandas as pd
import pytest
import torch

import dcube
from dcube.artifacts.layout import REFERENCE, SEEN
from dcube.artifacts.schemas.drift import DriftReference
from dcube.artifacts.schemas.seen import SeenImages
from dcube.classifier.candidate import Ensemble, load_candidate
from dcube.registry.download import download_version
from dcube.registry.references import resolve_reference
from dcube.registry.versions import CHALLENGER, CHAMPION
from dcube.tracking import tags
from tests.support.working_copy import WorkingCopy

VERSION = f"dcube-phantom@{CHAMPION}"
COMMAND = (sys.executable, "-m", "dcube.cli")
ROW = "ImageNet probe"  # the only one without a diffusion model
REGISTERED = "dcube-phantom version 1: imagenet_probe_folds, "
STUDY = (*COMMAND, "study", "folds", "--row", ROW, "--set", "data.folds=3", "--register", ROW)


@pytest.mark.slow
def test_models_of_all_folds_are_one_version(fresh: WorkingCopy, tmp_path, monkeypatch):
    copy = fresh.copy(tmp_path / "copy")
    copy.commit()
    shown = copy.run(*STUDY).output
    assert REGISTERED in shown and "by the one of 3 models that never saw it" in shown
    assert REGISTERED in copy.run(*STUDY).output, "nothing is registered twice"

    monkeypatch.chdir(copy.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    registered_model, version = resolve_reference(VERSION)
    assert registered_model.aliases() == {CHALLENGER: "1", CHAMPION: "1"}
    repeats = pd.read_csv("outputs/studies/folds-phantom/repeats.csv").query("split == 'test' and metric == 'accuracy'")
    mean = repeats["result"].mean()
    assert version.metrics["test.accuracy"] == pytest.approx(mean, abs=0.01), "the folds differ a little in size"
    assert "data.fold" not in version.run.data.params and version.run.data.params["data.folds"] == "3"
    assert len({version.tags[f"{tags.MEMBER_RUN}{number}"] for number in range(3)}) == 3

    home = download_version(VERSION, tmp_path / "files").folder
    candidate = load_candidate(home, torch.device("cpu"))
    assert isinstance(candidate, Ensemble) and len(candidate.members) == 3
    assert DriftReference.load(home / REFERENCE).images == 600 <= len(SeenImages.load(home / SEEN).images)
    images = sorted(copy.folder.glob("data/phantom/normal/*"))[:3]
    found = dcube.load(f"models:/{VERSION}").predict(images).table
    assert found["decision"].isin(candidate.classes).all()

    traced = copy.run(*COMMAND, "lineage", VERSION).output
    assert all(f"member {number}" in traced for number in range(3)) and "Nothing is missing." in traced
    refused = copy.run(*COMMAND, "reproduce", VERSION, fails=True).errors
    assert "`dcube study folds --data phantom --set data.folds=3 --register 'ImageNet probe'` at commit " in refused

    shutil.rmtree(copy.folder / ".dvc/cache/files")
    lost = copy.run(*STUDY, fails=True).errors.splitlines()[-1]
    assert "outputs/evaluation/imagenet_probe is neither in DVC's cache nor in a remote" in lost
    copy.dvc("exp", "remove", "--all-commits")
    lost = copy.run(*STUDY, fails=True).errors.splitlines()[-1]
    assert f"{ROW}, repeat 1: its experiment is gone: remove " in lost and lost.endswith("then run the study again")
