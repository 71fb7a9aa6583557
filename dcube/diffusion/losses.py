"""The losses of stage 1: Eq. (3), (4) and (5)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcube.engine.distributed import all_reduce_mean, world_size


def squared_distance_pooled(first: Tensor, second: Tensor) -> Tensor:
    """Return (N,) d² in 0 … 4 between mean-pooled, L2-normalised middle features (N, tokens, width).

    On the unit sphere the margin of Eq. (4) is meaningful at any width and number of tokens.
    """
    first, second = (F.normalize(features.float().mean(dim=1), dim=1) for features in (first, second))
    return (first - second).square().sum(dim=1)


def squared_distance_published(first: Tensor, second: Tensor) -> Tensor:
    """Return (N,) d² as in the published code, summed over every token and channel; kept for comparison.

    At any usual width it exceeds the margin from the first step, so only the pull of equal labels has an effect.
    """
    return (first.float() - second.float()).square().sum(dim=(1, 2))


def contrastive_loss(squared_distance: Tensor, different: Tensor, margin: float, valid: Tensor) -> Tensor:
    """Return the contrastive loss, Eq. (4): pairs of one class are pulled together, others pushed apart to the margin.

    Args:
        squared_distance: (N,) d².
        different: (N,) bool, Y of Eq. (4): whether the labels differ.
        margin: m of Eq. (4).
        valid: (N,) bool, pairs that count. The loss is the mean over these pairs, or 0 if there are none. With several
            processes, the mean of their losses is the mean over the valid pairs of all processes.
    """
    push = (margin - squared_distance).clamp(min=0.0)
    terms = torch.where(different, push, squared_distance)
    return (terms * valid).sum() / all_reduce_mean(valid.sum().float()).clamp(min=1 / world_size())
