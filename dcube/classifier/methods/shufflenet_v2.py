"""torchvision's ShuffleNet V2 1.0×."""

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models import ShuffleNet_V2_X1_0_Weights, shufflenet_v2_x1_0

from dcube.classifier.method import TABLE_IX, register_method
from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.image_classifier import ImageClassifier
from dcube.classifier.networks.loading import IMAGENET, load_published
from dcube.config.schema import Pretrained


@register_method(
    title="ShuffleNet V2",
    family="CNN",
    optimiser="sgd",
    learning_rate=1e-3,
    weight_decay=5e-5,
    epochs=50,
    settings_from=TABLE_IX,
    reference="Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV 2018",
)
def build(task: Task, pretrained: Pretrained) -> nn.Module:
    """Build the classifier: (B, C, S, S) uint8 to (B, classes)."""
    network = shufflenet_v2_x1_0(num_classes=task.classes)
    load_published(network, "ShuffleNet V2", pretrained, _published, fresh="fc.")
    network.pretrained_cfg = IMAGENET  # type: ignore[assignment]
    return ImageClassifier(network)


def _published() -> Mapping[str, Tensor]:
    """Download the weights. They are a pickle, so the checksum is verified, and `weights_only` runs no code."""
    return ShuffleNet_V2_X1_0_Weights.DEFAULT.get_state_dict(progress=False, check_hash=True, weights_only=True)
