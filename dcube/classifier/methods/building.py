"""Makes the network of a method. A new method is one small file with a `build`, and a line here and in `catalogue`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dcube.classifier.head import ImageClassifier
from dcube.classifier.methods import cpt, diffmic
from dcube.config import Pretrained
from dcube.engine.distributed import Share
from dcube.engine.pretrained import create_pretrained


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
        source = pretrained.weights, pretrained.weights_file, pretrained.weights_sha256
        options: dict[str, Any] = {"img_size": task.image_size} if sized else {}
        return ImageClassifier(create_pretrained(architecture, *source, num_classes=task.classes, **options))

    return build


BUILDERS: dict[str, Build] = {
    "resnet101": timm_network("resnet101"),
    "diffmic": diffmic.build,
    "cpt": cpt.build,
}


def build_method(name: str, task: Task, pretrained: Pretrained) -> nn.Module:
    """The network of a method of the catalogue, or the network of timm with this name.

    Raises:
        DcubeError: no such network, or no such weights.
    """
    return BUILDERS.get(name, timm_network(name))(task, pretrained)
