"""The optimisers that methods are published with, by name."""

import torch
from torch import nn

from dcube.classifier.methods.catalogue import Optimiser
from dcube.config.schema import Classifier
from dcube.engine.trainer import OptimiserOf

MOMENTUM = 0.9


def optimiser_of(name: Optimiser, settings: Classifier) -> OptimiserOf | None:
    """Makes the optimiser of given parameters; None is the trainer's own, AdamW."""
    if name == "adamw":
        return None

    def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        rate, decay = settings.learning_rate, settings.weight_decay
        return torch.optim.SGD(parameters, rate, momentum=MOMENTUM, weight_decay=decay)

    return sgd
