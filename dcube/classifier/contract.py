"""What a method to compare with is given, and what it may offer beside its output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from dcube.config.schema import Pretrained
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
