"""A timm network for stored uint8 images."""

import torch
from torch import Tensor, nn


class ImageNetwork(nn.Module):
    """A timm network for uint8 images, grey or colour, which it normalises as its pretrained weights expect."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            values = torch.tensor(network.pretrained_cfg[name])  # type: ignore[index]
            self.register_buffer(name, values.view(1, 3, 1, 1), persistent=False)
        # Measured on CPUs that support bfloat16: depthwise convolutions are slower in bfloat16 than in float32.
        self.slow_in_bfloat16 = any(
            isinstance(m, nn.Conv2d) and 1 < m.groups == m.in_channels for m in network.modules()
        )

    def forward(self, images: Tensor):
        # fmt: off
        colour = images.float().div(255).expand(-1, 3, -1, -1)  # (B, 3, S, S)
        normalised = (colour - self.mean) / self.std            # (B, 3, S, S)
        # fmt: on
        if self.slow_in_bfloat16 and images.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return self.network(normalised)
        return self.network(normalised)
