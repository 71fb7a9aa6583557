"""What a method to compare with is given, and what it may offer beside its output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from dcube.config.schema import Pretrained
from dcube.engine.rng import Rng


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


@runtime_checkable
class OwnLosses(Protocol):
    """A network that is not trained by cross-entropy on its output."""

    def losses(self, images: Tensor, labels: Tensor, rng: Rng) -> dict[str, Tensor]:
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

    def pretraining_losses(self, rng: Rng) -> dict[str, Tensor]:
        """Losses of one pretraining step, the one named "loss" is minimised; the batch is made from `rng`."""
        ...


# Every network: uint8 images (B, C, S, S) and, unused, diffusion features, to logits (B, classes).
Build = Callable[[Task, Pretrained], nn.Module]
