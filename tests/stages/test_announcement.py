"""The line that a stage prints at its start."""

import shutil

import pytest

from dcube.artifacts.layout import PARAMS, PLAN
from dcube.artifacts.schemas.plan import PlanSummary
from dcube.config.loading import load_preset
from dcube.repository.graph import stages_in_order
from dcube.stages.process.announcement import announce
from tests.support.checkout import ROOT


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan of three stages for the data set of params.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DCUBE_STAGES", raising=False)
    monkeypatch.setenv("DVC_STAGE", "any")
    PARAMS.write_text(load_preset("phantom").to_yaml())
    estimate = {"prepare": 30.0, "train_classifier": 102.0, "evaluate@dcube": 60.0}
    record = PlanSummary(dataset="phantom", seconds=600, goal="best", machine="m", decisions=[], estimate=estimate)
    record.save(PLAN)
    return record


def test_stage_announces_its_number_and_planned_time(plan, capsys):
    announce("train_classifier")
    said = capsys.readouterr().err
    assert said == "stage 2 of 3: train_classifier (planned: 1.7 min, 2.7 min with all that follow)\n"


def test_stage_announces_its_number_and_description_without_a_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DCUBE_STAGES", raising=False)
    monkeypatch.setenv("DVC_STAGE", "any")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    names = [stage.name for stage in stages_in_order(ROOT)]  # DVC's own order
    for name in names:
        announce(name)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in said] == [
        f"stage {place} of {len(names)}: {name}" for place, name in enumerate(names, 1)
    ]
    assert said[0] == f"stage 1 of {len(names)}: prepare (Check the raw images, split them and store them as arrays)"


def test_stage_announces_nothing_without_a_matching_plan_or_in_a_flow(plan, capsys, monkeypatch):
    announce("probe")
    monkeypatch.setenv("DCUBE_STAGES", "prepare")
    announce("prepare")
    monkeypatch.delenv("DCUBE_STAGES")
    plan.model_copy(update={"dataset": "another"}).save(PLAN)
    announce("prepare")
    PLAN.write_text("{")
    announce("prepare")
    PLAN.unlink()
    announce("prepare")
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""
