"""Runs with a time budget: the worker plans their parameters."""

import pytest

from dcube.artifacts.layout import PARAMS, PLAN, PLAN_PAGE
from dcube.config.loading import load_params, load_preset
from dcube.config.schema import Params
from dcube.errors import DcubeError
from flows.pipeline import pipeline
from flows.planning import plan_parameters
from tests.support.raw_sets import class_folders
from tests.support.working_copy import WorkingCopy


def test_missing_data_set_ends_a_planned_run_in_one_line(repository, prefect_server, ran):
    with pytest.raises(DcubeError, match=r"^data/scans does not exist: `dcube data add scans PATH`") as error:
        pipeline(Params.model_validate({"data": {"name": "scans"}}), minutes=5)
    assert "\n" not in str(error.value) and ran() == []


SMALL = ["baseline.method=resnet10t", "data.image_size=32", "data.diffusion_image_size=16"]


@pytest.mark.slow
def test_restarted_run_keeps_its_plan(prefect_server, tmp_path):
    folder, lines = tmp_path / "workspace", []
    WorkingCopy.of_this_code(folder).run("git", "init", "--quiet")
    class_folders(folder / "data/scans")
    (folder / PLAN).write_text("the plan of another data set, which was committed")
    plan_parameters(folder, "scans", 60, SMALL, lines.append)
    planned = load_params(folder / PARAMS)
    assert (planned.data.name, planned.baseline.method) == ("scans", "resnet10t")
    assert "Estimate" in (folder / PLAN_PAGE).read_text() and any("s a step" in line for line in lines)
    (folder / PARAMS).write_text(load_preset("phantom").to_yaml())
    plan_parameters(folder, "scans", 60, SMALL, lines.append)
    assert load_params(folder / PARAMS) == planned
