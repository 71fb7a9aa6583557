"""What passes validation runs: parameters at their limits end in one line before any work, or in metrics."""

import math
import os
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from dcube.config.loading import params_from, with_overrides
from dcube.config.schema import Group, Params
from dcube.errors import DcubeError
from dcube.feasibility import refuse_infeasible
from tests.support.discs import TINY, write_dataset
from tests.support.toy_chain import run_chain

DRAWS = int(os.environ.get("TEST_DRAWS", "6"))  # each limit of each parameter was run once by itself
BASE = params_from(
    TINY
    | {
        "diffusion": TINY["diffusion"] | {"epochs": 0.1, "width": 16, "label_dropout": 0.5},
        "classifier": TINY["classifier"] | {"epochs": 0.1},
        "baseline": TINY["baseline"] | {"epochs": 0.1, "method": "test_resnet"},
        "fid": TINY["fid"] | {"samples": 6, "sampling_steps": 2},
        "features": {"keep": 2, "images": 4},
        "synthesis": TINY["synthesis"] | {"sampling_steps": 2, "maximum": 5},
        "probe": {"timesteps": [1]},
    },
    "base",
)
# What only costs time, or has no limits of its own.
INSTEAD: dict[str, list[Any]] = {
    "diffusion.width": [16, 24], "diffusion.depth": [2, 4], "diffusion.epochs": [1e-9, 0.5],
    "diffusion.fid_every": [0.2, 1e6], "fid.samples": [2, 4], "fid.sampling_steps": [2, 5], "fid.resize": [32],
    "diffusion.timesteps": [10, 10_000], "synthesis.maximum": [0, 1, 7], "synthesis.sampling_steps": [2, 5],
    "synthesis.ratio": [
        {}, {"benign": 1e-6, "malignant": 1e6, "normal": 1}, {"benign": math.inf, "malignant": 1, "normal": 1},
        {"benign": 1e308, "malignant": 1, "normal": 1}, {"benign": 1}, {"bening": 1, "malignant": 1, "normal": 1},
    ],
    "classifier.epochs": [1e-9, 0.4], "baseline.epochs": [1e-9, 0.4, None], "baseline.pretraining_steps": [1],
    "baseline.method": ["test_resnet", "test_vit", "no_such_network", "pixel_regression", "imagenet_probe"],
    "classifier.sub_features.architecture": ["tf_efficientnet_lite0", "test_resnet", "no_such_network", "inception_v4"],
    "classifier.fused_channels": [1, 8], "evaluation.bootstrap_samples": [100], "compute.processes": [1, 2],
    "compute.compile": [False], "labels.count": [2, 3, 48, 49, None], "features.images": [1, 10**7],
    "probe.labels": [[], [2, 3, 10**7]], "probe.draws": [1], "probe.timesteps": [[0], [999], [1000]],
    "classifier.evaluation_timesteps": [[0], [999], [10_000], [0, 0]],
}  # fmt: skip


def limits(name: str, annotation: Any, metadata: list[Any]) -> list[Any]:
    """The values at a field's bounds, just beyond them, and far away."""
    if name in INSTEAD:
        return INSTEAD[name]
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return list(typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return [None, *(value for one in typing.get_args(annotation) for value in limits(name, one, metadata))]
    if origin is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        info = [part for one in more for part in (one.metadata if isinstance(one, FieldInfo) else [one])]
        return limits(name, inner, [*metadata, *info])
    if annotation is bool:
        return [False, True]
    if annotation is str:
        return ["", "/nowhere.safetensors", "0" * 64]
    bounds = {key: getattr(part, key) for part in metadata for key in ("ge", "gt", "le", "lt") if hasattr(part, key)}
    low, high = bounds.get("ge", bounds.get("gt", 0)), bounds.get("le", bounds.get("lt", 1e30))
    if annotation is int:
        return [int(low), int(low) + 1, int(high), int(high) - 1, 2**63]
    return [low, math.nextafter(low, math.inf), high, math.nextafter(high, low), math.inf, math.nan, 1e308]


def fields(group: type[Group], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    for name, info in group.model_fields.items():
        path = f"{prefix}{name}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, Group):
            yield from fields(info.annotation, f"{path}.")
        elif not path.startswith("data."):  # what `prepare` makes of these stands in the data set already
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
def test_parameters_at_their_limits_are_refused_before_any_work_or_run_to_the_end(toy, values) -> None:
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
            assert "lower the learning rate" in str(error), values  # which only training can tell


def test_an_operating_point_of_an_unknown_class_is_refused_before_any_work(toy) -> None:
    wish = {"evaluation.operating_point": "youden", "evaluation.positive_class": "malignnat"}
    with pytest.raises(DcubeError, match="positive_class: there is no class 'malignnat': choose from benign, mal"):
        refuse_infeasible(with_overrides(BASE, wish, "--set"), toy[0].info)


def test_a_loss_that_the_method_cannot_have_is_refused_before_any_work(toy) -> None:
    wish = {"baseline.method": "diffmic", "baseline.class_balance": "loss_weights"}
    with pytest.raises(DcubeError, match="loss_weights does not apply to diffmic"):
        refuse_infeasible(with_overrides(BASE, wish, "--set"), toy[0].info)


@pytest.mark.parametrize("schedule", [{"timesteps": 10_000}, {"beta_end": 0.2}])
def test_a_schedule_that_leaves_no_signal_is_refused(schedule) -> None:
    """Sampling from it gave values that are not finite, once stage 1 had trained."""
    with pytest.raises(DcubeError, match="nothing is left of an image to sample from"):
        with_overrides(BASE, {f"diffusion.{name}": value for name, value in schedule.items()}, "--set")
    assert with_overrides(BASE, {"diffusion.timesteps": 8000}, "--set")
