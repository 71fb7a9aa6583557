"""C-RADIOv3-B, an agglomerative foundation model, with all weights trained."""

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.image_classifier import ImageClassifier
from dcube.classifier.networks.radio import with_classifier
from dcube.config.schema import Pretrained


@register_method(
    title="RADIO (full tuning)",
    family="Foundation",
    optimiser="adamw",
    learning_rate=6e-6,
    weight_decay=0.3,
    epochs=200,
    settings_from=f"{TABLE_IX}, row ViT-B/16",
    reference="Ranzinger et al., AM-RADIO: Reduce All Domains Into One, CVPR 2024",
)
def build(task: Task, pretrained: Pretrained) -> ImageClassifier:
    """Build a classifier on the class token."""
    return ImageClassifier(with_classifier(task, pretrained))
