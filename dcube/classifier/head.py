"""The D-Cube head: frozen diffusion features, weighted by scores of a fine-tuned CNN (paper §III-B2)."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcube.engine.image_network import ImageNetwork

SUB_SCORES = 3
HIDDEN_CHANNELS = (64, 32, 4)
HIDDEN_FEATURES = 32


class MultiKernelLayer(nn.Module):
    """Sum of a 3×3 and a 5×5 convolution, then batch norm and ReLU. It keeps the grid, as the paper avoids pooling."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.small = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False)
        self.large = nn.Conv2d(channels_in, channels_out, kernel_size=5, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.small(x) + self.large(x)))


class DCubeHead(nn.Module):
    """The part of D-Cube that is trained in stage 2.

    Args:
        sub_network: timm feature network with one output, (B, 3, S, S) to [(B, sub_channels, h', w')]; None: no
            sub-features (Table IV).
        sub_channels: channels of that output; 0 without sub-features.
        diffusion_channels: total channels of all selected blocks.
        grid: side of the U-ViT's patch grid.
        classes: number of logits.
        fused_channels: channels after the 1×1 convolution (paper: 1).
        dropout: dropout rate between the fully connected layers.
    """

    def __init__(
        self,
        sub_network: nn.Module | None,
        sub_channels: int,
        diffusion_channels: int,
        grid: int,
        classes: int,
        fused_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.sub_network = None if sub_network is None else ImageNetwork(sub_network)
        self.fuse = nn.Conv2d(diffusion_channels + sub_channels, fused_channels, kernel_size=1)
        self.score = None if sub_network is None else nn.Conv2d(sub_channels, SUB_SCORES, kernel_size=1)
        sizes = (fused_channels if sub_network is None else SUB_SCORES * fused_channels, *HIDDEN_CHANNELS)
        self.layers = nn.Sequential(*(MultiKernelLayer(a, b) for a, b in itertools.pairwise(sizes)))
        self.hidden = nn.Linear(HIDDEN_CHANNELS[-1] * grid**2, HIDDEN_FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(HIDDEN_FEATURES, classes)

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Return logits (B, classes) for images (B, C, S, S) uint8 and block features [(B, width, h, w), …]."""
        (logits,) = self.at_timesteps(images, [features])
        return logits

    def at_timesteps(self, images: Tensor, features_by_timestep: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Return logits at several timesteps. The sub-features do not depend on t and are computed once."""
        sub_map = None if self.sub_network is None else self.sub_network(images)[0]  # (B, sub, h', w')
        return [self._logits(sub_map, features) for features in features_by_timestep]

    def _logits(self, sub_map: Tensor | None, features: Sequence[Tensor]) -> Tensor:
        # fmt: off
        diffusion = torch.cat([normalise_tokens(block) for block in features], dim=1)  # (B, k·width, h, w)
        maps = self.layers(self._weighted(sub_map, diffusion))                         # (B, 4, h, w)
        hidden = self.dropout(F.relu(self.hidden(maps.flatten(1))))                    # (B, 32)
        # fmt: on
        return self.logits(hidden)

    def _weighted(self, sub_map: Tensor | None, diffusion: Tensor) -> Tensor:
        """Return the fused features weighted by each sub-score, (B, 3·F, h, w); (B, F, h, w) without sub-features."""
        if sub_map is None or self.score is None:
            return self.fuse(diffusion)
        # fmt: off
        sub_on_grid = F.interpolate(sub_map, diffusion.shape[2:], mode="bilinear")  # (B, sub, h, w)
        fused = self.fuse(torch.cat((diffusion, sub_on_grid), dim=1))               # (B, F, h, w)
        scores = self.score(sub_map).sum(dim=(2, 3))                                # (B, 3)
        weighted = (1 + scores[:, :, None, None, None]) * fused[:, None]            # (B, 3, F, h, w)
        # fmt: on
        return weighted.flatten(1, 2)


class SubFeatureClassifier(nn.Module):
    """Control: the sub-feature network with mean pooling and the same dropout. It ignores diffusion features."""

    def __init__(self, sub_network: nn.Module, sub_channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.sub_network = ImageNetwork(sub_network)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(sub_channels, classes)

    def forward(self, images: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        (sub_map,) = self.sub_network(images)
        return self.logits(self.dropout(sub_map.mean(dim=(2, 3))))


def normalise_tokens(block: Tensor) -> Tensor:
    """Normalise each patch token to zero mean and unit variance over its channels. Shape: (B, width, h, w)."""
    return F.layer_norm(block.movedim(1, -1), block.shape[1:2]).movedim(-1, 1)
