"""CvT-13."""

from torch import nn

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.transformers_networks import with_weights
from dcube.config.schema import Pretrained


@register_method(
    title="CvT-13",
    family="Transformer",
    optimiser="adamw",
    learning_rate=6.5e-5,
    weight_decay=1e-2,
    epochs=100,
    settings_from=TABLE_IX,
    reference="Wu et al., CvT: Introducing Convolutions to Vision Transformers, ICCV 2021",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    from transformers import CvtConfig, CvtForImageClassification  # slow to import

    network = CvtForImageClassification(CvtConfig(num_labels=task.classes))  # type: ignore[call-arg]
    return with_weights(network, "CvT-13", "microsoft/cvt-13", pretrained)
