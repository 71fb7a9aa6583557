"""Statistics of batch normalisation that fit the weights they are used with.

Running statistics follow the batches with momentum 0.1, and averaging the weights averages them once more: after a
short training they belong to weights of long ago, and every image may fall into one class.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)  # timm's own are among them


@contextmanager
def statistics_estimated_again(model: nn.Module) -> Iterator[bool]:
    """Within it, forward passes of `model` in eval mode replace its running statistics by means over these passes.

    Only layers whose statistics training updates take part: those of a frozen encoder keep theirs.

    Yields:
        whether there is such a layer; without one, no pass is needed.
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
