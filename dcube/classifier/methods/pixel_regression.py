"""Control: multinomial logistic regression on the pixels. It shows what is possible without a network."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dcube.classifier.method import STAGE_2, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.frozen import StandardisedLinear
from dcube.config.schema import Pretrained

LARGEST = 28


class PixelRegression(nn.Module):
    """Logits (B, classes) for images (B, C, S, S) uint8: mean pooling to at most 28 × 28, then `StandardisedLinear`."""

    def __init__(self, classes: int, image_size: int, channels: int) -> None:
        super().__init__()
        self.side = min(image_size, LARGEST)
        self.regression = StandardisedLinear(channels * self.side**2, classes)

    def forward(self, images: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        # fmt: off
        pooled = F.adaptive_avg_pool2d(images.float().div(255), self.side)  # (B, C, 28, 28)
        # fmt: on
        return self.regression(pooled.flatten(1))


@register_method(
    title="Logistic regression on pixels",
    family="Control",
    optimiser="adamw",
    learning_rate=2e-4,
    weight_decay=0.03,
    epochs=70,
    settings_from=STAGE_2,
    reference="what the pixels give away without a network",
)
def build(task: Task, pretrained: Pretrained) -> PixelRegression:
    """Build the regression. It ignores `pretrained`, because there are no pretrained weights."""
    return PixelRegression(task.classes, task.image_size, task.channels)
