"""Several processes compute as one: each takes its share of a global batch, and what they find is added up.

A process's losses are *parts*: over all processes they add up to the losses of the global batch, and so do the
gradients. Without a process group every function here is that of one process with one share, the whole.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Result = TypeVar("Result")


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that speaks: it measures, saves, logs and publishes."""
    return not dist.is_initialized() or dist.get_rank() == 0


@dataclass(frozen=True)
class Share:
    """Which items of a global batch of `total` are this process's."""

    start: int
    stop: int
    total: int

    def __len__(self) -> int:
        return self.stop - self.start

    def of(self, batch: Any) -> Any:
        """This process's part of something that has one item an image."""
        return batch[self.start : self.stop]

    @property
    def weight(self) -> float:
        """What a mean over the share counts in the mean over the batch."""
        return len(self) / self.total


def share_of(total: int) -> Share:
    rank = dist.get_rank() if dist.is_initialized() else 0
    return Share(total * rank // processes(), total * (rank + 1) // processes(), total)


def summed(part: Tensor) -> Tensor:
    """The sum over all processes; differentiable."""
    return _Sum.apply(part) if dist.is_initialized() else part


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, part: Tensor) -> Tensor:
        total = part.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        # Every process's part of the loss depends on the sum: the gradient is the sum of theirs.
        return _Sum.forward(None, gradients[0])


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Turn the gradients of the parts into that of the global batch, in one message."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, chunk in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(chunk.view_as(gradient))


def gathered(part: Tensor, share: Share) -> Tensor:
    """The whole batch in every process, from everybody's share of it."""
    if not dist.is_initialized():
        return part
    whole = part.new_zeros((share.total, *part.shape[1:]))
    share.of(whole).copy_(part)
    dist.all_reduce(whole)
    return whole


def from_first(compute: Callable[[], Result]) -> Result:
    """What `compute` returns in the first process, in all of them; the others wait."""
    if not dist.is_initialized():
        return compute()
    box: list[Any] = [compute() if is_first() else None]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def spread(tensors: Sequence[Tensor]) -> None:
    """Overwrite the tensors with the first process's."""
    if not dist.is_initialized():
        return
    for tensor in tensors:
        copy = tensor.detach().contiguous()
        dist.broadcast(copy, src=0)
        tensor.detach().copy_(copy)
