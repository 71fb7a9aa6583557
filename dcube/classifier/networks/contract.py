"""The contract of a method to compare with.

Its network takes uint8 images (B, C, S, S) and, unused, diffusion features, and returns logits (B, classes).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from dcube.engine.rng import Rng


@dataclass(frozen=True)
class Task:
    """The classification task that a network is built for.

    Attributes:
        classes: number of logits.
        image_size: side in pixels of its input images.
        channels: of these images, 1 or 3.
    """

    classes: int
    image_size: int
    channels: int


@runtime_checkable
class OwnLosses(Protocol):
    """A network that is not trained by cross-entropy on its output."""

    def losses(self, images: Tensor, labels: Tensor, rng: Rng) -> dict[str, Tensor]:
        """Means over the batch. The one named "loss" is minimised.

        Args:
            images: (n, C, S, S) uint8, randomly flipped.
            labels: (n,) class indices.
        """
        ...


@runtime_checkable
class FrozenEncoder(Protocol):
    """A network whose first part is never trained. It takes what `encode` gives in the place of images, too."""

    def encode(self, images: Tensor) -> Tensor:
        """Features of images (n, C, S, S) uint8 and of their mirror images, (n, F, 1, 2) float.

        A flip of the last axis exchanges the two, as it does with the pixels.
        """
        ...


@runtime_checkable
class PretrainsItself(Protocol):
    """A network that is first trained on a task of its own, without labels."""

    @property
    def pretraining_steps(self) -> int: ...

    def pretraining_losses(self, rng: Rng) -> dict[str, Tensor]:
        """Losses of one pretraining step, the one named "loss" is minimised; the batch is made from `rng`."""
        ...
