"""Conversion between stored pixels (uint8) and the range of the networks ([-1, 1])."""

import torch
from torch import Tensor


def to_model_range(images: Tensor) -> Tensor:
    """Convert uint8 in 0…255 to float in -1…1."""
    return images.float().div_(127.5).sub_(1.0)


def from_model_range(images: Tensor) -> Tensor:
    """Convert float in -1…1 to uint8 in 0…255; values outside are clipped."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
