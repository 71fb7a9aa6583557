"""A linear probe on a frozen C-RADIOv3-B."""

from typing import Any

import torch
from torch import Tensor, nn

from dcube.classifier.method import MEDCLIP_PROBE, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.frozen import LinearProbe
from dcube.classifier.networks.radio import VISIBLE, backbone
from dcube.config.schema import Pretrained


class Summary(nn.Module):
    """The class token and the mean of the patch tokens: (B, 3, S, S) normalised pixels to (B, 2F)."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.pretrained_cfg = backbone.pretrained_cfg

    def forward(self, pixels: Tensor) -> Tensor:
        # fmt: off
        tokens = self.backbone.forward_features(pixels)                       # (B, 1 + registers + N, F)
        patches = tokens[:, self.backbone.num_prefix_tokens:].mean(dim=1)     # (B, F)
        # fmt: on
        return torch.cat((tokens[:, 0], patches), dim=1)


@register_method(
    title="RADIO + linear probe",
    family="Foundation",
    optimiser="adamw",
    learning_rate=5e-4,
    weight_decay=0.0,
    epochs=10,
    settings_from=MEDCLIP_PROBE,
    reference="Ranzinger et al., AM-RADIO: Reduce All Domains Into One, CVPR 2024",
)
def build(task: Task, pretrained: Pretrained) -> LinearProbe:
    network: Any = backbone(task.image_size, pretrained, **VISIBLE)
    return LinearProbe(Summary(network), 2 * network.num_features, task.classes)
