"""Saving and loading of weights: a safetensors file with a JSON config that holds its checksum. Nothing is pickled."""

import hashlib
from pathlib import Path
from typing import TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from dcube.artifacts.layout import CONFIG, WEIGHTS
from dcube.artifacts.schemas.weights import WeightsConfig
from dcube.errors import DcubeError

Config = TypeVar("Config", bound=WeightsConfig)


def save_weights(folder: Path, tensors: dict[str, Tensor], config: WeightsConfig) -> str:
    """Write weights and config into `folder`, and return the sha256 of the weights.

    Raises:
        DcubeError: if a weight is not finite; nothing is written then.
    """
    _refuse_not_finite(tensors, "the training ended in weights", "lower the learning rate and train again")
    content = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    (folder / WEIGHTS).write_bytes(content)
    config.model_copy(update={"weights_sha256": digest}).save(folder / CONFIG)
    return digest


def load_weights(folder: Path, schema: type[Config]) -> tuple[dict[str, Tensor], Config]:
    """Return the weights (on the CPU) and the config of a folder. For the config alone: `schema.load(folder / CONFIG)`.

    Raises:
        DcubeError: if a file is missing or damaged, or a weight is not finite.
    """
    config = schema.load(folder / CONFIG)
    try:
        content = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError:
        raise DcubeError(f"{folder / WEIGHTS} is missing: {schema.remedy}") from None
    if hashlib.sha256(content).hexdigest() != config.weights_sha256:
        raise DcubeError(f"{folder / WEIGHTS} is damaged (checksum differs): `dvc checkout` or train again")
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise DcubeError(f"{folder / WEIGHTS} is no safetensors file ({error}): {schema.remedy}") from None
    _refuse_not_finite(tensors, f"{folder / WEIGHTS} contains weights", schema.remedy)
    return tensors, config


def _refuse_not_finite(tensors: dict[str, Tensor], what: str, remedy: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise DcubeError(f"{what} that are not finite ({name}): {remedy}")


def load_into(network: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Load the tensors that `load_weights` read from `folder` into a network.

    Raises:
        DcubeError: if names or shapes differ from the network's, e.g. because the code has changed.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise DcubeError(f"{folder} holds weights of another network than this version builds: train again") from None


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix` and a dot, with this removed from their names."""
    start = prefix + "."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
