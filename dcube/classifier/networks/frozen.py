"""A frozen encoder and one linear layer: what a linear probe is made of."""

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """A network that is never trained: without gradient, and in eval mode whatever mode the whole is in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class StandardisedLinear(nn.Module):
    """Features (B, F) to logits (B, classes): each standardised by its mean and variance in training, then one layer.

    As in the linear probes of He et al., Masked Autoencoders, CVPR 2022 (appendix A.1): the standardisation has no
    parameters, so that the whole is linear, and one learning rate fits features of any size.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm1d(features).requires_grad_(False)  # scale 1 and shift 0 are not trained
        self.logits = nn.Linear(features, classes)
        nn.init.zeros_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits(self.standardise(features))
