"""timm's ResNeSt-50."""

from torch import nn

from dcube.classifier.method import register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.timm_networks import timm_network
from dcube.config.schema import Pretrained


@register_method(
    title="ResNeSt-50",
    family="CNN",
    optimiser="sgd",
    learning_rate=2.5e-2,
    weight_decay=1e-4,
    epochs=270,
    settings_from="Zhang et al., 0.1 for 256 images",
    reference="Zhang et al., ResNeSt: Split-Attention Networks, CVPR Workshops 2022",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    return timm_network("resnest50d", task, pretrained)
