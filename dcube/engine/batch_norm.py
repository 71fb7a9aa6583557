"""Batch normalisation over the global batch, on any device (torch's SyncBatchNorm knows GPUs only)."""

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from dcube.engine.distributed import processes, summed


def normalise_over_processes(network: nn.Module) -> None:
    """Have every batch normalisation of the network see all processes' images, as if one had them all.

    Names, parameters and running statistics stay what they are: only the layers' classes change.
    """
    if processes() == 1:
        return
    for module in network.modules():
        if isinstance(module, BatchNormAct2d):
            module.__class__ = _GlobalBatchNormAct2d
        elif isinstance(module, nn.BatchNorm2d):
            module.__class__ = _GlobalBatchNorm2d


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return normalised(self, x) if self.training else super().forward(x)


class _GlobalBatchNormAct2d(BatchNormAct2d):
    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(normalised(self, x))) if self.training else super().forward(x)


def normalised(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """(B, C, H, W) of this process, by mean and variance of all; updates the running statistics."""
    values = x.float()
    size = torch.tensor([x.numel() / x.shape[1]], device=x.device)
    totals = summed(torch.cat((values.sum(dim=(0, 2, 3)), size)))
    mean, count = totals[:-1] / totals[-1], totals[-1].detach()
    # The squares of the deviations, not of the values: no digits cancel.
    variance = summed((values - _channels(mean)).square().sum(dim=(0, 2, 3))) / count
    assert layer.num_batches_tracked is not None and layer.running_mean is not None and layer.running_var is not None
    momentum = layer.momentum or 0.0
    with torch.no_grad():
        layer.num_batches_tracked += 1
        layer.running_mean.lerp_(mean, momentum)
        layer.running_var.lerp_(variance * count / (count - 1), momentum)
    scale = layer.weight * torch.rsqrt(variance + layer.eps)
    return (values * _channels(scale) + _channels(layer.bias - mean * scale)).to(x.dtype)


def _channels(values: Tensor) -> Tensor:
    return values[:, None, None]
