"""The backbone of C-RADIOv3-B (Ranzinger et al., AM-RADIO, CVPR 2024), which several methods use."""

from typing import Any

from torch import nn

from dcube.classifier.networks.contract import Task
from dcube.config.schema import Pretrained
from dcube.engine.pretrained import create_pretrained

ARCHITECTURE = "vit_base_patch16_radio_v3"
# Initial layer scale, which published weights overwrite. With timm's 1e-5, which is meant for training from scratch,
# frozen random layers would hardly change the class token: it would be the same for every image.
VISIBLE = {"init_values": 1.0}


def backbone(image_size: int, pretrained: Pretrained, **options: Any) -> nn.Module:
    return create_pretrained(ARCHITECTURE, pretrained, image_size, num_classes=0, **options)


def with_classifier(task: Task, pretrained: Pretrained, **options: Any) -> nn.Module:
    network = backbone(task.image_size, pretrained, **options)
    network.reset_classifier(task.classes)  # type: ignore[operator]
    return network
