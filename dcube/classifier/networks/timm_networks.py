"""Unchanged timm networks with a new last layer."""

from typing import Any

from timm.models._features import FeatureGetterNet  # no public name
from torch import nn

from dcube.classifier.networks.contract import Task
from dcube.classifier.networks.frozen import LinearProbe
from dcube.classifier.networks.image_classifier import ImageClassifier
from dcube.config.schema import Pretrained
from dcube.engine.pretrained import create_pretrained


def timm_classifier(architecture: str, classes: int, pretrained: Pretrained, **options: Any) -> nn.Module:
    """Build a timm network: (B, 3, S, S) normalised pixels to (B, classes).

    For weights from a file, the network is first built with its original last layer: only then does timm refuse a file
    in which layers are missing.
    """
    if pretrained.weights != "file":
        return create_pretrained(architecture, pretrained, num_classes=classes, **options)
    network = create_pretrained(architecture, pretrained, **options)
    network.reset_classifier(classes)  # type: ignore[operator]
    return network


def timm_features(architecture: str, pretrained: Pretrained, stages: tuple[int, ...]) -> nn.Module:
    """Build a timm network up to the last of `stages`: (B, 3, S, S) normalised pixels to one map for each stage."""
    network = create_pretrained(architecture, pretrained)
    features = FeatureGetterNet(network, out_indices=stages)
    features.pretrained_cfg = network.pretrained_cfg
    return features


def timm_network(architecture: str, task: Task, pretrained: Pretrained) -> ImageClassifier:
    """Build a timm network with a new last layer: (B, C, S, S) uint8 to (B, classes)."""
    return ImageClassifier(timm_classifier(architecture, task.classes, pretrained, image_size=task.image_size))


def timm_probe(architecture: str, task: Task, pretrained: Pretrained) -> LinearProbe:
    """Build a frozen timm network with a linear probe on the input of its last layer."""
    encoder = timm_classifier(architecture, 0, pretrained, image_size=task.image_size)
    features: Any = encoder.head_hidden_size
    return LinearProbe(encoder, features, task.classes)
