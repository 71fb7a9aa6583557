"""timm's ResNeXt-101 32×8d."""

from torch import nn

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.timm_networks import timm_network
from dcube.config.schema import Pretrained


@register_method(
    title="ResNeXt-101",
    family="CNN",
    optimiser="sgd",
    learning_rate=1e-3,
    weight_decay=1e-4,
    epochs=50,
    settings_from=TABLE_IX,
    reference="Xie et al., Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    return timm_network("resnext101_32x8d", task, pretrained)
