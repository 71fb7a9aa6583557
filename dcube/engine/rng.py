"""Random numbers of torch as a pure function of (seed, purpose, position)."""

import torch

from dcube.engine.seeds import derived_seed


def torch_generator(device: torch.device | str, seed: int, *position: str | int) -> torch.Generator:
    return torch.Generator(device).manual_seed(derived_seed(seed, *position))
