"""DiffMIC's guidance (§2.1): class predictions from the whole image and from its salient regions."""

import torch
from torch import Tensor, nn

from dcube.engine.image_network import ImageNetwork

REGIONS = 6
REGION_SIDE = 32  # in pixels, and the encoders' stride: one region is one cell of the saliency map
ATTENTION_WIDTH = 128


class DualGuidance(nn.Module):
    """Two predictions of the classes: from the whole image, and from its salient regions.

    Args:
        global_network: timm feature network with one output of stride 32, (B, 3, S, S) to [(B, F, S/32, S/32)].
        local_network: another one like it.
        channels: F.
        classes: number of logits.
    """

    def __init__(self, global_network: nn.Module, local_network: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.global_encoder, self.local_encoder = ImageNetwork(global_network), ImageNetwork(local_network)
        self.saliency = nn.Conv2d(channels, classes, kernel_size=1, bias=False)
        self.attention = GatedAttention(channels)
        self.local_logits = nn.Linear(channels, classes, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return global and local logits, (B, classes) each, for images (B, C, S, S) uint8."""
        # fmt: off
        (whole,) = self.global_encoder(images)                                 # (B, F, g, g)
        saliency = self.saliency(whole)                                        # (B, classes, g, g)
        regions = salient_regions(images, saliency)                            # (B, K, C, 32, 32)
        (parts,) = self.local_encoder(regions.flatten(0, 1))                   # (B·K, F, 1, 1)
        vectors = parts.mean(dim=(2, 3)).unflatten(0, regions.shape[:2])       # (B, K, F)
        local = self.local_logits((self.attention(vectors) * vectors).sum(1))  # (B, classes)
        # fmt: on
        return saliency.mean(dim=(2, 3)), local


class GatedAttention(nn.Module):
    """Attention weights for the vectors of an image, which add up to one (Ilse et al. 2018, Eq. (9))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.value = nn.Linear(channels, ATTENTION_WIDTH, bias=False)
        self.gate = nn.Linear(channels, ATTENTION_WIDTH, bias=False)
        self.score = nn.Linear(ATTENTION_WIDTH, 1, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return weights (B, K, 1) for vectors (B, K, F)."""
        return self.score(self.value(vectors).tanh() * self.gate(vectors).sigmoid()).softmax(dim=1)


def salient_regions(images: Tensor, saliency: Tensor) -> Tensor:
    """Return the K most salient cells of images (B, C, S, S), summed over classes: (B, K, C, 32, 32), K = 6 or all.

    Args:
        saliency: (B, classes, S/32, S/32) of any scale; each class's map is scaled to the range 0 to 1.
    """
    # fmt: off
    maps = saliency.detach().float().flatten(2)                       # (B, classes, g²)
    low, high = maps.amin(2, keepdim=True), maps.amax(2, keepdim=True)
    salience = ((maps - low) / (high - low).clamp(min=1e-12)).sum(1)  # (B, g²)
    chosen = salience.topk(min(REGIONS, salience.shape[1])).indices   # (B, K)
    cells = images.unfold(2, REGION_SIDE, REGION_SIDE).unfold(3, REGION_SIDE, REGION_SIDE)  # (B, C, g, g, 32, 32)
    cells = cells.flatten(2, 3).transpose(1, 2)                       # (B, g², C, 32, 32)
    # fmt: on
    return cells[torch.arange(len(cells), device=cells.device)[:, None], chosen]
