"""Parameters of `data` at their limits are refused before training or run to the end, on a small phantom."""

import os
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dcube.config.loading import with_overrides
from dcube.config.schema import Data
from dcube.data.layouts import phantom
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from dcube.feasibility import refuse_infeasible
from tests.support.parameter_limits import BASE, limits
from tests.support.toy_chain import run_chain

DRAWS = int(os.environ.get("TEST_DRAWS", "6"))
# Values of their own for parameters whose limits cost time, do not exist, or do not fit the phantom.
INSTEAD: dict[str, list[Any]] = {
    "name": ["phantom"], "image_size": [8, 9, 32, 33, 2049], "diffusion_image_size": [8, 12, 15, 16, 33],
    "crop": [None, 8, 4096], "window_center": [None, 40.0], "window_width": [None, 400.0],
    "group_by": [None, "folder:1", "folder:9", "run:1", "run:9999", "pattern:.", "pattern:(", "pattern:nowhere"],
    "subgroups": [[], ["nope"], ["patient_id"]], "seed": [0, 2**32 - 1],
}  # fmt: skip
LIMITS = {
    name: INSTEAD.get(name) or limits(f"data.{name}", info.annotation, list(info.metadata))
    for name, info in Data.model_fields.items()
}


@st.composite
def at_their_limits(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(LIMITS)), min_size=1, max_size=3, unique=True))
    return {f"data.{name}": draw(st.sampled_from(LIMITS[name])) for name in names}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "PATIENTS", {"benign": 6, "malignant": 6, "normal": 12, "": 3})
        phantom.write_phantom(folder / "raw")
    return folder


def run(home, values: dict[str, Any]) -> str:
    """The error message, empty if the run finished."""
    folder = home / uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCUBE_CHECKPOINTS", str(home / "checkpoints"))
        patch.setenv("DCUBE_SCAN_CACHE", str(home / "scans.sqlite"))
        patch.chdir(home)
        try:
            params = with_overrides(BASE, {"data.name": "phantom", **values}, "drawn")
            dataset = prepare(home / "raw", params.data, folder / "prepared")
            refuse_infeasible(params, dataset.info)
        except DcubeError as error:
            assert "\n" not in str(error)
            return str(error)
        try:
            run_chain(params, dataset, folder, home / "cache")
        except DcubeError as error:
            assert "lower the learning rate" in str(error), values  # divergence is only seen in training
    return ""


@settings(max_examples=DRAWS, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(values=at_their_limits())
@pytest.mark.slow
def test_data_parameters_at_their_limits_are_refused_early_or_run_to_the_end(home, values) -> None:
    run(home, values)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [{"train_fraction": 1e-5}, {"validation_fraction": 1e-4, "test_fraction": 1e-4}, {"imbalance": 24.0}, {"folds": 6}],
)
def test_training_runs_with_few_images(home, values) -> None:
    assert run(home, {f"data.{name}": value for name, value in values.items()}) == ""


def test_missing_subgroup_column_is_named(home) -> None:
    assert run(home, {"data.subgroups": ["nope"]}) == "data.subgroups: metadata.csv has no column 'nope'"
