"""Networks of torchvision that timm has not."""

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models import ShuffleNet_V2_X1_0_Weights, shufflenet_v2_x1_0

from dcube.classifier.head import ImageClassifier
from dcube.classifier.methods.contract import Task
from dcube.classifier.methods.loading import IMAGENET, load_published
from dcube.config.schema import Pretrained


def shufflenet_v2(task: Task, pretrained: Pretrained) -> nn.Module:
    """ShuffleNet V2 1.0×: (B, C, S, S) uint8 to (B, classes)."""
    network = shufflenet_v2_x1_0(num_classes=task.classes)
    load_published(network, "ShuffleNet V2", pretrained, _published, fresh="fc.")
    network.pretrained_cfg = IMAGENET  # type: ignore[assignment]
    return ImageClassifier(network)


def _published() -> Mapping[str, Tensor]:
    """Published as a pickle: compared with its checksum first, and read by torch's reader that runs no code."""
    return ShuffleNet_V2_X1_0_Weights.DEFAULT.get_state_dict(progress=False, check_hash=True, weights_only=True)
