"""The losses of stage 1: Eq. (3), (4) and (5)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcube.engine.distributed import all_reduce_mean, world_size


def squared_distance_pooled(first: Tensor, second: Tensor) -> Tensor:
    """d² between mean-pooled, L2-normalised middle features: (N, tokens, width) each to (N,), within 0 … 4.

    On the unit sphere the margin of Eq. (4) means something at any width and number of tokens.
    """
    first, second = (F.normalize(features.float().mean(dim=1), dim=1) for features in (first, second))
    return (first - second).square().sum(dim=1)


def squared_distance_published(first: Tensor, second: Tensor) -> Tensor:
    """d² as the published code takes it, summed over every token and channel; kept for comparison.

    At any usual width it exceeds the margin from the first step on, so that only the pull of equal labels acts.
    """
    return (first.float() - second.float()).square().sum(dim=(1, 2))


def contrastive_loss(squared_distance: Tensor, different: Tensor, margin: float, valid: Tensor) -> Tensor:
    """Eq. (4): pull pairs of one class together, push others apart up to the margin.

    Args:
        squared_distance: (N,) d².
        different: (N,) bool, Y of Eq. (4): the labels differ.
        margin: m.
        valid: (N,) bool, pairs that count; the mean is over these, and 0 where there are none. The mean over several
            processes is that over all valid pairs, wherever they are.
    """
    push = (margin - squared_distance).clamp(min=0.0)
    terms = torch.where(different, push, squared_distance)
    return (terms * valid).sum() / all_reduce_mean(valid.sum().float()).clamp(min=1 / world_size())
