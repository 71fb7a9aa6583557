"""timm's ResNet-101."""

from torch import nn

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.timm_networks import timm_network
from dcube.config.schema import Pretrained


@register_method(
    title="ResNet-101",
    family="CNN",
    optimiser="sgd",
    learning_rate=1e-3,
    weight_decay=1e-4,
    epochs=50,
    settings_from=TABLE_IX,
    reference="He et al., Deep Residual Learning for Image Recognition, CVPR 2016",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    return timm_network("resnet101", task, pretrained)
