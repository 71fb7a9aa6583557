"""timm's ViT-B/16."""

from torch import nn

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.timm_networks import timm_network
from dcube.config.schema import Pretrained


@register_method(
    title="ViT-B/16",
    family="Transformer",
    optimiser="adamw",
    learning_rate=6e-6,
    weight_decay=0.3,
    epochs=200,
    settings_from=TABLE_IX,
    reference="Dosovitskiy et al., An Image Is Worth 16x16 Words, ICLR 2021",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    return timm_network("vit_base_patch16_224", task, pretrained)
