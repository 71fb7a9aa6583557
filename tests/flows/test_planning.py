"""Runs with a time budget: the worker plans their parameters."""

import shutil

import pytest

from dcube.artifacts.layout import PARAMS, PLAN, PLAN_PAGE
from dcube.config.loading import load_params, load_preset
from dcube.config.schema import Params
from dcube.errors import DcubeError
from flows.pipeline import pipeline
from flows.planning import plan_parameters


def test_missing_data_set_ends_a_planned_run_in_one_line(repository, prefect_server, ran):
    with pytest.raises(DcubeError, match=r"^data/scans does not exist: `dcube data add scans PATH`") as error:
        pipeline(Params.model_validate({"data": {"name": "scans"}}), minutes=5)
    assert "\n" not in str(error.value) and ran() == []


@pytest.mark.slow
def test_restarted_run_keeps_its_plan(fresh, prefect_server, tmp_path):
    folder, lines = tmp_path / "workspace", []
    shutil.copytree(fresh.folder, folder, symlinks=True)
    (folder / PLAN).write_text("the plan of another data set, which was committed")
    plan_parameters(folder, "phantom", 20, ["baseline.method=resnet10t"], lines.append)
    planned = load_params(folder / PARAMS)
    assert (planned.data.name, planned.baseline.method) == ("phantom", "resnet10t")
    assert "Estimate" in (folder / PLAN_PAGE).read_text() and any("s a step" in line for line in lines)
    (folder / PARAMS).write_text(load_preset("phantom").to_yaml())
    plan_parameters(folder, "phantom", 20, ["baseline.method=resnet10t"], lines.append)
    assert load_params(folder / PARAMS) == planned
