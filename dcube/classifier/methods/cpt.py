"""CPT: a pyramid transformer that learns to segment geometric shapes before it classifies.

Viriyasaranon, Woo and Choi, "Unsupervised Visual Representation Learning Based on Segmentation of Geometric
Pseudo-Shapes for Transformer-Based Medical Tasks", IEEE J. Biomed. Health Inform. 27(4), 2023. Its abstract names the
parts: shapes inserted into images are segmented without annotations; patches are embedded by convolutions of several
kernel sizes; every layer reduces its keys and values locally. It leaves the rest open; here it is kept simple:
- The transformer is PVT v2-B1, which reduces keys and values by a strided convolution. Each patch embedding gets a
  second kernel, two pixels wider and initially zero, so that published weights stay valid.
- Five kinds of shapes are drawn on generated backgrounds, because pretraining here does not see the training images.
- The decoder sums the maps of the four stages. Its loss is the sum of cross-entropy and Dice loss.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.models.pvt_v2 import OverlapPatchEmbed
from torch import Tensor, nn

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.pseudo_shapes import PIXEL_CLASSES, draw_images
from dcube.classifier.networks.timm_networks import timm_features
from dcube.config.schema import Pretrained
from dcube.engine.image_network import ImageNetwork
from dcube.engine.rng import Rng

ARCHITECTURE = "pvt_v2_b1"
PRETRAINING_STEPS = 2000
DECODER_WIDTH = 64


class MultiKernelConvolution(nn.Module):
    """Sum of a convolution and a wider one that is initially zero."""

    def __init__(self, narrow: nn.Conv2d) -> None:
        super().__init__()
        kernel, channels = narrow.kernel_size[0] + 2, (narrow.in_channels, narrow.out_channels)
        self.narrow = narrow
        self.wide = nn.Conv2d(*channels, kernel, narrow.stride, padding=kernel // 2, bias=False)  # type: ignore[arg-type]
        nn.init.zeros_(self.wide.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(x) + self.wide(x)


class SegmentationDecoder(nn.Module):
    """Pixel classes from maps of several scales, ordered from the finest to the coarsest."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, DECODER_WIDTH, kernel_size=1) for c in channels)
        self.mix = nn.Conv2d(DECODER_WIDTH, DECODER_WIDTH, kernel_size=3, padding=1)
        self.logits = nn.Conv2d(DECODER_WIDTH, PIXEL_CLASSES, kernel_size=1)

    def forward(self, maps: Sequence[Tensor], side: int) -> Tensor:
        finest = maps[0].shape[2:]
        # fmt: off
        lateral = [layer(scale) for layer, scale in zip(self.lateral, maps, strict=True)]          # (B, 64, h_i, w_i)
        summed = torch.stack([F.interpolate(x, finest, mode="bilinear") for x in lateral]).sum(0)  # (B, 64, S/4, S/4)
        logits = self.logits(F.gelu(self.mix(F.gelu(summed))))                                     # (B, 6, S/4, S/4)
        # fmt: on
        return F.interpolate(logits, (side, side), mode="bilinear")


class CPT(nn.Module):
    """A classifier with a pyramid transformer that is pretrained by segmentation.

    Args:
        network: timm feature network, (B, 3, S, S) to maps from the finest to the coarsest.
        channels: channels of these maps.
        task: the classification task; pretraining images have its image size.
        pretraining_steps: batches of generated images before the first labelled one.
    """

    def __init__(
        self, network: nn.Module, channels: Sequence[int], task: Task, pretraining_steps: int = PRETRAINING_STEPS
    ) -> None:
        super().__init__()
        self.pretraining_steps, self.image_size = pretraining_steps, task.image_size
        self.encoder, self.decoder = ImageNetwork(network), SegmentationDecoder(channels)
        self.logits = nn.Linear(channels[-1], task.classes)

    def forward(self, images: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        """Return logits (B, classes) for images (B, C, S, S) uint8."""
        return self.logits(self.encoder(images)[-1].mean(dim=(2, 3)))

    def pretraining_losses(self, rng: Rng) -> dict[str, Tensor]:
        images, labels = draw_images(rng, self.image_size)
        logits = self.decoder(self.encoder(images), self.image_size).float()
        values = {
            "cross_entropy": F.cross_entropy(logits, labels),
            "dice_loss": 1 - dice(logits.softmax(dim=1), labels),
        }
        return {"loss": values["cross_entropy"] + values["dice_loss"], **values}


def dice(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the Dice coefficient (2 |A ∩ B| + 1) / (|A| + |B| + 1), mean over images and classes; 1 is perfect.

    Args:
        probabilities: (B, classes, S, S).
        labels: (B, S, S), class indices.
    """
    truth = F.one_hot(labels, probabilities.shape[1]).movedim(-1, 1)
    common = (probabilities * truth).sum(dim=(2, 3))
    sizes = probabilities.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return ((2 * common + 1) / (sizes + 1)).mean()


def with_wider_kernels(network: nn.Module) -> nn.Module:
    """Add a wider kernel to each patch embedding of a PVT v2, in place."""
    for module in [module for module in network.modules() if isinstance(module, OverlapPatchEmbed)]:
        module.proj = MultiKernelConvolution(module.proj)  # type: ignore[assignment]
    return network


@register_method(
    title="CPT",
    family="Transformer",
    optimiser="adamw",
    learning_rate=5e-5,
    weight_decay=1e-2,
    epochs=50,
    settings_from=TABLE_IX,
    reference=(
        "Viriyasaranon et al., Unsupervised Visual Representation Learning Based on Segmentation of "
        "Geometric Pseudo-Shapes for Transformer-Based Medical Tasks, IEEE JBHI 2023"
    ),
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    network = timm_features(ARCHITECTURE, pretrained, stages=(0, 1, 2, 3))
    channels = network.feature_info.channels()  # type: ignore[union-attr, operator]
    return CPT(with_wider_kernels(network), channels, task, PRETRAINING_STEPS)
