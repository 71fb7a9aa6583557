"""Random numbers of torch as a function of (seed, purpose, position), independent of the number of processes."""

import torch
from torch import Tensor

from dcube.engine.distributed import shard, world_size
from dcube.engine.seeds import derived_seed


def torch_generator(device: torch.device | str, seed: int, *position: str | int) -> torch.Generator:
    return torch.Generator(device).manual_seed(derived_seed(seed, *position))


class Rng:
    """Random numbers for this process's images, taken from numbers that are drawn for the global batch.

    Args:
        device: device on which the numbers are drawn.
        images: number n of images of this process, the same in all processes.
        seed, position: determine the numbers, see `derived_seed`.
    """

    def __init__(self, device: torch.device | str, images: int, seed: int, *position: str | int) -> None:
        self.generator = torch_generator(device, seed, *position)
        self.batch_size = images * world_size()

    def normal(self, *shape: int) -> Tensor:
        """Return (n, *shape) standard normal values."""
        return shard(torch.randn((self.batch_size, *shape), **self._source))

    def uniform(self, *shape: int) -> Tensor:
        """Return (n, *shape) uniform values between 0 and 1."""
        return shard(torch.rand((self.batch_size, *shape), **self._source))

    def integers(self, low: int, high: int) -> Tensor:
        """Return (n,) uniform integers from `low` to `high` - 1."""
        return shard(torch.randint(low, high, (self.batch_size,), **self._source))

    @property
    def _source(self) -> dict:
        return {"generator": self.generator, "device": self.generator.device}
