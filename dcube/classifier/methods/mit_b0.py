"""MiT-b0: the encoder of SegFormer with a linear layer on its mean token."""

from torch import nn

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.transformers_networks import with_weights
from dcube.config.schema import Pretrained


@register_method(
    title="MiT-b0 (SegFormer)",
    family="Transformer",
    optimiser="adamw",
    learning_rate=8e-6,
    weight_decay=1e-2,
    epochs=100,
    settings_from=TABLE_IX,
    reference="Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation, NeurIPS 2021",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    from transformers import SegformerConfig, SegformerForImageClassification  # slow to import

    network = SegformerForImageClassification(SegformerConfig(num_labels=task.classes))  # type: ignore[call-arg]
    return with_weights(network, "MiT-b0", "nvidia/mit-b0", pretrained)
