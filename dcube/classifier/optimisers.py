"""The optimisers that methods are published with, by name."""

import torch
from torch import nn

from dcube.config.schema import Optimisation
from dcube.engine.trainer import OptimiserOf

MOMENTUM = 0.9


def optimiser_of(settings: Optimisation) -> OptimiserOf | None:
    """Makes the optimiser of given parameters; None is the trainer's own, AdamW."""
    if settings.optimiser == "adamw":
        return None

    def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        rate, decay = settings.learning_rate, settings.weight_decay
        return torch.optim.SGD(parameters, rate, momentum=MOMENTUM, weight_decay=decay)

    return sgd
