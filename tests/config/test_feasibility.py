"""Parameters at their limits are either refused with one line before any work, or give metrics."""

import os
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dcube.config.loading import with_overrides
from dcube.config.schema import Group, Params
from dcube.errors import DcubeError
from dcube.feasibility import refuse_infeasible
from tests.support.discs import write_dataset
from tests.support.parameter_limits import BASE, limits
from tests.support.toy_chain import run_chain

DRAWS = int(os.environ.get("TEST_DRAWS", "6"))  # few, as every limit was once tested by itself


def fields(group: type[Group], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    for name, info in group.model_fields.items():
        path = f"{prefix}{name}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, Group):
            yield from fields(info.annotation, f"{path}.")
        elif not path.startswith("data."):  # tested in test_feasible_data.py, because they are read by `prepare`
            yield path, limits(path, info.annotation, list(info.metadata))


LIMITS = dict(fields(Params))


@st.composite
def at_their_limits(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(LIMITS)), min_size=1, max_size=4, unique=True))
    return {name: draw(st.sampled_from(LIMITS[name])) for name in names}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return write_dataset(folder / "prepared"), folder


@settings(
    max_examples=DRAWS,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(values=at_their_limits())
@pytest.mark.slow
def test_parameters_at_their_limits_are_refused_early_or_run_to_the_end(toy, values) -> None:
    dataset, folder = toy
    try:
        params = with_overrides(BASE, values, "drawn")
        refuse_infeasible(params, dataset.info)
    except DcubeError as error:
        assert "\n" not in str(error)
        return
    if params.compute.processes > 1:
        return  # needs torchrun
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCUBE_CHECKPOINTS", str(folder / "checkpoints"))
        try:
            run_chain(params, dataset, folder / uuid4().hex, folder / "cache")
        except DcubeError as error:
            assert "lower the learning rate" in str(error), values  # divergence is only seen in training


def test_operating_point_of_unknown_class_is_refused(toy) -> None:
    settings = {"evaluation.operating_point": "youden", "evaluation.positive_class": "malignnat"}
    with pytest.raises(DcubeError, match="positive_class: there is no class 'malignnat': choose from benign, mal"):
        refuse_infeasible(with_overrides(BASE, settings, "--set"), toy[0].info)


def test_class_balance_without_effect_on_the_method_is_refused(toy) -> None:
    settings = {"baseline.method": "diffmic", "baseline.class_balance": "loss_weights"}
    with pytest.raises(DcubeError, match="loss_weights does not apply to diffmic"):
        refuse_infeasible(with_overrides(BASE, settings, "--set"), toy[0].info)


@pytest.mark.parametrize("schedule", [{"timesteps": 10_000}, {"beta_end": 0.2}])
def test_noise_schedule_that_leaves_no_signal_is_refused(schedule) -> None:
    """Sampling would give values that are not finite, but only after stage 1."""
    with pytest.raises(DcubeError, match="nothing is left of an image to sample from"):
        with_overrides(BASE, {f"diffusion.{name}": value for name, value in schedule.items()}, "--set")
    assert with_overrides(BASE, {"diffusion.timesteps": 8000}, "--set")
