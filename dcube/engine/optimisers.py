"""Functions by name that make the optimisers for the trained parameters of a model."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn
from torch.optim import Optimizer

SGD_MOMENTUM = 0.9


class OptimiserSettings(Protocol):
    """Settings of the optimiser and of the moving average of the weights."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def gradient_clip(self) -> float: ...
    @property
    def ema_decay(self) -> float: ...


MakeOptimisers = Callable[[nn.Module, OptimiserSettings], list[Optimizer]]


def adamw(model: nn.Module, settings: OptimiserSettings) -> list[Optimizer]:
    return [_adamw(list(_trained(model).values()), settings)]


def sgd(model: nn.Module, settings: OptimiserSettings) -> list[Optimizer]:
    parameters, rate, decay = _trained(model).values(), settings.learning_rate, settings.weight_decay
    return [torch.optim.SGD(parameters, rate, momentum=SGD_MOMENTUM, weight_decay=decay)]


def muon(model: nn.Module, settings: OptimiserSettings) -> list[Optimizer]:
    """Muon (K. Jordan et al. 2024) for the matrices of a transformer's `blocks`, AdamW for the rest.

    Updates have the same size as AdamW's (J. Liu et al., arXiv:2502.16982), so that both use one learning rate.
    """
    trained = _trained(model)
    matrices = [name for name, parameter in trained.items() if name.startswith("blocks.") and parameter.ndim == 2]
    rest = [parameter for name, parameter in trained.items() if name not in matrices]
    return [
        torch.optim.Muon(
            [trained[name] for name in matrices],
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        _adamw(rest, settings),
    ]


OPTIMISERS: dict[str, MakeOptimisers] = {"adamw": adamw, "sgd": sgd, "muon": muon}


def _adamw(parameters: list[nn.Parameter], settings: OptimiserSettings) -> Optimizer:
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
