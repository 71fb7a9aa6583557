"""Estimating batch-norm statistics again for the current weights.

Running statistics follow the batches with momentum 0.1, and the moving average of the weights averages them once more.
After a short training they belong to much earlier weights, with which all images may be predicted as one class.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)  # timm's classes are derived from these


@contextmanager
def statistics_estimated_again(model: nn.Module) -> Iterator[bool]:
    """Inside the block, forward passes replace the running statistics of `model` by means over these passes.

    All other layers are in eval mode, also those of a frozen encoder, whose statistics training does not update.

    Yields:
        Whether there is a layer to update; otherwise no forward pass is needed.
    """
    layers = [layer for layer in model.train().modules() if isinstance(layer, BATCH_NORM) and layer.training]
    momentum = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
        layer.train()
    yield bool(layers)
    for layer, usual in zip(layers, momentum, strict=True):
        layer.momentum = usual
    model.eval()
