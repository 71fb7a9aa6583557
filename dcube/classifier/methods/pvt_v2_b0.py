"""timm's PVT v2-b0."""

from torch import nn

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.timm_networks import timm_network
from dcube.config.schema import Pretrained


@register_method(
    title="PVT v2-b0",
    family="Transformer",
    optimiser="adamw",
    learning_rate=1e-5,
    weight_decay=1e-2,
    epochs=50,
    settings_from=TABLE_IX,
    reference="Wang et al., PVT v2: Improved Baselines with Pyramid Vision Transformer, CVMJ 2022",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    return timm_network("pvt_v2_b0", task, pretrained)
