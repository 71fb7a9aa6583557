"""The contract of a baseline method.

Its network takes uint8 images (B, C, S, S) and diffusion features, which it ignores, and returns logits (B, classes).
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
        channels: channels of the input images, 1 or 3.
    """

    classes: int
    image_size: int
    channels: int


@runtime_checkable
class OwnLosses(Protocol):
    """A network with its own training loss instead of cross-entropy on its output."""

    def losses(self, images: Tensor, labels: Tensor, rng: Rng) -> dict[str, Tensor]:
        """Return the losses, means over the batch. The one named "loss" is minimised.

        Args:
            images: (n, C, S, S) uint8, randomly flipped.
            labels: (n,) class indices.
        """
        ...


@runtime_checkable
class FrozenEncoder(Protocol):
    """A network whose first part is never trained. Its forward pass takes images or the output of `encode`."""

    def encode(self, images: Tensor) -> Tensor:
        """Return features (n, F, 1, 2) float of images (n, C, S, S) uint8 and of their mirror images.

        Flipping the last axis swaps the two, as it mirrors an image.
        """
        ...


@runtime_checkable
class PretrainsItself(Protocol):
    """A network that is pretrained on its own task without labels."""

    @property
    def pretraining_steps(self) -> int: ...

    def pretraining_losses(self, rng: Rng) -> dict[str, Tensor]:
        """Return the losses of one step, whose batch is made from `rng`. The one named "loss" is minimised."""
        ...
