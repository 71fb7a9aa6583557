"""PVT-Tiny. Published position embeddings are resampled to `image_size`."""

from torch import nn

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.transformers_networks import with_weights
from dcube.config.schema import Pretrained


@register_method(
    title="PVT-Tiny",
    family="Transformer",
    optimiser="adamw",
    learning_rate=8e-6,
    weight_decay=1e-2,
    epochs=50,
    settings_from=TABLE_IX,
    reference="Wang et al., Pyramid Vision Transformer, ICCV 2021",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    from transformers import PvtConfig, PvtForImageClassification  # slow to import

    network = PvtForImageClassification(PvtConfig(num_labels=task.classes, image_size=task.image_size))
    return with_weights(network, "PVT-Tiny", "Xrenya/pvt-tiny-224", pretrained, positions="position_embeddings")
