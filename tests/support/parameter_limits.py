"""Parameters with which all stages take seconds, and the values at the limits of every field."""

import math
import types
import typing
from typing import Any, Literal

from pydantic.fields import FieldInfo

from dcube.config.loading import params_from
from tests.support.discs import TINY

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
# Values for fields that only cost time or have no limits of their own.
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
