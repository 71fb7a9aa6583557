"""Pixels as stored (uint8) and as the networks see them ([-1, 1])."""

import torch
from torch import Tensor


def to_model_range(images: Tensor) -> Tensor:
    """uint8 0…255 to float -1…1."""
    return images.float().div_(127.5).sub_(1.0)


def from_model_range(images: Tensor) -> Tensor:
    """Float -1…1 to uint8 0…255, clipped."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
