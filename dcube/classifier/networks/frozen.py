"""A linear probe: a frozen encoder and one linear layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dcube.engine.image_network import ImageNetwork


class Frozen(nn.Module):
    """A network that is never trained: it has no gradients and stays in eval mode when its parent is in train mode."""

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
    """Logits (B, classes) for features (B, F), which are standardised by batch norm, by one linear layer.

    This is the linear probe of He et al., Masked Autoencoders, CVPR 2022 (appendix A.1). The standardisation has no
    trained parameters, so that the module stays linear, and one learning rate fits features of any scale.
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
    """Logits (B, classes) for images (B, C, S, S) uint8, by one trained layer on the features of a frozen encoder."""

    def __init__(self, encoder: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.encoder = Frozen(ImageNetwork(encoder))
        self.probe = StandardisedLinear(features, classes)

    def forward(self, images: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        return self.probe(images[:, :, 0, 0] if images.is_floating_point() else self.encoder(images))

    def encode(self, images: Tensor) -> Tensor:
        return torch.stack((self.encoder(images), self.encoder(images.flip(-1))), dim=-1)[:, :, None]
