"""C-RADIOv3-B, an agglomerative foundation model (Ranzinger et al., AM-RADIO, CVPR 2024), tuned in three ways."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dcube.classifier.head import ImageClassifier
from dcube.classifier.methods.contract import Task
from dcube.classifier.methods.frozen import Frozen, StandardisedLinear
from dcube.config.schema import Pretrained
from dcube.engine.image_network import ImageNetwork
from dcube.engine.pretrained import create_pretrained

ARCHITECTURE = "vit_base_patch16_radio_v3"
# timm's 1e-5 is for training from scratch. Frozen without published weights (which have scales of their own), the
# layers would add next to nothing to the class token: it would be the same for every image.
VISIBLE = {"init_values": 1.0}
RANK = 8  # Hu et al., LoRA, ICLR 2022, Table 9: rank and alpha of RoBERTa


def radio(task: Task, pretrained: Pretrained) -> ImageClassifier:
    """All weights are trained; logits from the class token."""
    return ImageClassifier(_with_classifier(task, pretrained))


def radio_lora(task: Task, pretrained: Pretrained) -> "LoraClassifier":
    """Only low-rank additions to the attention's query, key and value are trained, and the last layer."""
    from peft import LoraConfig, inject_adapter_in_model  # slow to import

    network = _with_classifier(task, pretrained, **VISIBLE)
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["qkv"]), network)
    network.head.requires_grad_(True)  # type: ignore[union-attr]
    return LoraClassifier(network)


def radio_probe(task: Task, pretrained: Pretrained) -> "RadioProbe":
    """One layer is trained on frozen features."""
    return RadioProbe(_backbone(task.image_size, pretrained, **VISIBLE), task.classes)


class LoraClassifier(ImageClassifier):
    """Always in eval mode: nothing that is trained knows another, and the frozen rest has to stay as it is."""

    def train(self, mode: bool = True) -> "LoraClassifier":
        return super().train(False)


class Summary(nn.Module):
    """(B, 3, S, S) normalised pixels to (B, 2F): the class token and the mean of the patches' tokens."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.pretrained_cfg = backbone.pretrained_cfg

    def forward(self, pixels: Tensor) -> Tensor:
        # fmt: off
        tokens = self.backbone.forward_features(pixels)                       # (B, 1 + registers + N, F)
        patches = tokens[:, self.backbone.num_prefix_tokens:].mean(dim=1)     # (B, F)
        # fmt: on
        return torch.cat((tokens[:, 0], patches), dim=1)


class RadioProbe(nn.Module):
    """(B, C, S, S) uint8 to (B, classes)."""

    def __init__(self, backbone: Any, classes: int) -> None:
        super().__init__()
        self.encoder = Frozen(ImageNetwork(Summary(backbone)))
        self.probe = StandardisedLinear(2 * backbone.num_features, classes)

    def forward(self, images: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        return self.probe(self.encoder(images))


def _backbone(image_size: int, pretrained: Pretrained, **options: Any) -> nn.Module:
    return create_pretrained(ARCHITECTURE, pretrained, image_size, num_classes=0, **options)


def _with_classifier(task: Task, pretrained: Pretrained, **options: Any) -> nn.Module:
    network = _backbone(task.image_size, pretrained, **options)
    network.reset_classifier(task.classes)  # type: ignore[operator]
    return network
