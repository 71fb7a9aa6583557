"""Images of random pixels, and the random numbers of a step on them: the same in every process."""

import torch
from torch import Tensor

from dcube.engine.rng import Rng


def images_of(n: int, side: int = 32, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, channels, side, side), generator=generator, dtype=torch.uint8)


def rng_of(n: int, seed: int = 0) -> Rng:
    return Rng("cpu", n, seed)
