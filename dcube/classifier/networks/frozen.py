"""A linear probe: a frozen encoder and one linear layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcube.engine.image_network import ImageNetwork


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


class LinearProbe(nn.Module):
    """(B, C, S, S) uint8 to (B, classes), by one trained layer on the F features of an encoder (`FrozenEncoder`)."""

    def __init__(self, encoder: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.encoder = Frozen(ImageNetwork(encoder))
        self.probe = StandardisedLinear(features, classes)

    def forward(self, images: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        return self.probe(images[:, :, 0, 0] if images.is_floating_point() else self.encoder(images))

    def encode(self, images: Tensor) -> Tensor:
        return torch.stack((self.encoder(images), self.encoder(images.flip(-1))), dim=-1)[:, :, None]
