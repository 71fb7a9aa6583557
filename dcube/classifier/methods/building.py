"""Makes the network of a method. A new method is one small file with a `build`, and a line here and in `catalogue`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dcube.classifier.head import ImageClassifier
from dcube.classifier.methods import cpt, diffmic
from dcube.classifier.methods.medclip import medclip_probe
from dcube.classifier.methods.pixel_regression import PixelRegression
from dcube.classifier.methods.radio import radio, radio_lora, radio_probe
from dcube.classifier.methods.t2t_vit import t2t_vit
from dcube.classifier.methods.timm_networks import pit_b, timm_classifier
from dcube.classifier.methods.torchvision_networks import shufflenet_v2
from dcube.classifier.methods.transformers_networks import cvt, mit_b0, pvt_tiny
from dcube.config import Pretrained
from dcube.engine.distributed import Share


@dataclass(frozen=True)
class Task:
    """What a network is built for.

    Attributes:
        classes: number of logits.
        image_size: side in pixels of the images it will see.
        channels: of these images, 1 or 3.
    """

    classes: int
    image_size: int
    channels: int


@dataclass(frozen=True)
class Draws:
    """Random numbers of one step, drawn for its whole batch, of which this process sees its share."""

    generator: torch.Generator
    share: Share

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) standard normal values, n images in this process."""
        return self.share.of(torch.randn((self.share.total, *shape), generator=self.generator, device=self._device))

    def integers(self, below: int) -> Tensor:
        """(n,) integers from 0 to below - 1."""
        return self.share.of(torch.randint(below, (self.share.total,), generator=self.generator, device=self._device))

    @property
    def _device(self) -> torch.device:
        return self.generator.device


@runtime_checkable
class OwnLosses(Protocol):
    """A network that is not trained by cross-entropy on its output."""

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> dict[str, Tensor]:
        """Means over the batch, the one named "loss" is minimised.

        Args:
            images: (n, C, S, S) uint8, mirrored at random already.
            labels: (n,) class indices.
        """
        ...


@runtime_checkable
class PretrainsItself(Protocol):
    """A network that is trained on a task of its own, without labels, before it sees any."""

    @property
    def pretraining_steps(self) -> int: ...

    def pretraining_losses(self, draws: Draws) -> dict[str, Tensor]:
        """Losses of one pretraining step, the one named "loss" is minimised; the batch is made from `draws`."""
        ...


# Every network: uint8 images (B, C, S, S) and, unused, diffusion features, to logits (B, classes).
Build = Callable[[Task, Pretrained], nn.Module]


def timm_network(architecture: str, sized: bool = False) -> Build:
    """A network of timm as it is; `sized` for those that must be told the size of their images."""

    def build(task: Task, pretrained: Pretrained) -> nn.Module:
        options: dict[str, Any] = {"img_size": task.image_size} if sized else {}
        return ImageClassifier(timm_classifier(architecture, task.classes, pretrained, **options))

    return build


BUILDERS: dict[str, Build] = {
    # CNNs
    "resnet101": timm_network("resnet101"),
    "resnext101": timm_network("resnext101_32x8d"),
    "resnest50": timm_network("resnest50d"),
    "shufflenet_v2": lambda task, pretrained: shufflenet_v2(task.classes, pretrained),
    # Transformers
    "t2t_vit": lambda task, pretrained: t2t_vit(task.classes, task.image_size, pretrained),
    "vit_b16": timm_network("vit_base_patch16_224", sized=True),
    "cvt": lambda task, pretrained: cvt(task.classes, pretrained),
    "mit_b0": lambda task, pretrained: mit_b0(task.classes, pretrained),
    "pit_b": lambda task, pretrained: pit_b(task.classes, task.image_size, pretrained),
    "pvt_v2_b0": timm_network("pvt_v2_b0"),
    "pvt_tiny": lambda task, pretrained: pvt_tiny(task.classes, task.image_size, pretrained),
    # Foundation models
    "radio": lambda task, pretrained: radio(task.classes, task.image_size, pretrained),
    "radio_lora": lambda task, pretrained: radio_lora(task.classes, task.image_size, pretrained),
    "radio_probe": lambda task, pretrained: radio_probe(task.classes, task.image_size, pretrained),
    "medclip_probe": lambda task, pretrained: medclip_probe(task.classes, pretrained),
    # Controls
    "pixel_regression": lambda task, _: PixelRegression(task.classes, task.image_size, task.channels),
    "diffmic": diffmic.build,
    "cpt": cpt.build,
}


def build_method(name: str, task: Task, pretrained: Pretrained) -> nn.Module:
    """The network of a method of the catalogue, or the network of timm with this name.

    Raises:
        DcubeError: no such network, or no such weights.
    """
    return BUILDERS.get(name, timm_network(name))(task, pretrained)
