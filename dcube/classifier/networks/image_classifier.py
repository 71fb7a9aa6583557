"""A published network as the network of a baseline method."""

from collections.abc import Sequence

from torch import Tensor, nn

from dcube.engine.image_network import ImageNetwork


class ImageClassifier(nn.Module):
    """An unchanged network on normalised pixels. It ignores diffusion features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = ImageNetwork(network)

    def forward(self, images: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        return self.network(images)
