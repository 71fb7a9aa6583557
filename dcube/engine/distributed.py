"""A training in several processes, by torch.distributed: every process computes the losses of its shard of a batch.

torchrun starts the processes, on one node or several. Without it every function here is that of one process.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dcube.engine.batch_norm import BATCH_NORM
from dcube.engine.progress import Advance, progress
from dcube.errors import DcubeError

# How long a process waits for the others: the main one measures FID, and fetches checkpoints, alone.
TIMEOUT = timedelta(hours=1)
SECONDS_TO_BE_ENDED = 10

Result = TypeVar("Result")
Losses = Callable[[int], dict[str, Tensor]]


@contextmanager
def joined_processes() -> Iterator[None]:
    """Join the processes that torchrun has started together with this one, if it has.

    The process that fails first says why. The others fail because of it and say nothing: torchrun ends them.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    store, own_rank, size = next(dist.rendezvous("env://"))
    dist.init_process_group(store=store, rank=own_rank, world_size=size, timeout=TIMEOUT)
    try:
        yield
    except Exception:
        if _is_first_failure(store):
            raise
        time.sleep(SECONDS_TO_BE_ENDED)
        raise SystemExit(1) from None
    dist.destroy_process_group()


def _is_first_failure(store: dist.Store) -> bool:
    try:
        return store.add("failures", 1) == 1
    except dist.DistError:
        return False  # the store has ended with the main process


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this is the process that measures, saves, logs and publishes."""
    return rank() == 0


@contextmanager
def progress_of_all(description: str, total: int, unit: str, completed: int = 0) -> Iterator[Advance]:
    """As `progress`, of work that all processes do alike: the main one shows its own."""
    if is_main_process():
        with progress(description, total, unit, completed) as advance:
            yield advance
    else:
        yield lambda *_, **__: None


def shard(items: Any) -> Any:
    """This process's consecutive part of something that can be sliced; two parts differ by one item at most."""
    n = len(items)
    return items[n * rank() // world_size() : n * (rank() + 1) // world_size()]


def shard_size(batch_size: int) -> int:
    """How many images of a training batch each process has.

    Raises:
        DcubeError: not all of them the same number; the mean of the processes' losses would not be that of the batch.
    """
    if batch_size % world_size():
        raise DcubeError(
            f"a batch of {batch_size} images cannot be divided equally among {world_size()} processes: "
            "change the batch size or the number of processes"
        )
    return batch_size // world_size()


def all_reduce_mean(value: Tensor) -> Tensor:
    """The mean over all processes, without gradient."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def all_gather(part: Tensor) -> Tensor:
    """All processes' parts, equal in length, one after the other; differentiable."""
    return _AllGather.apply(part) if world_size() > 1 else part


class _AllGather(torch.autograd.Function):
    """torch's own differentiable ones are deprecated, or private and of another name in every release."""

    @staticmethod
    def forward(_context: Any, part: Tensor) -> Tensor:
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(world_size())]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()  # every process's loss depends on every part
        dist.all_reduce(total)
        return shard(total)


def gather_uneven(part: Tensor) -> Tensor:
    """The same for parts on the CPU that may differ in length, without gradient."""
    parts: list[Any] = [part] * world_size()
    if world_size() > 1:
        dist.all_gather_object(parts, part)
    return torch.cat(parts)


def broadcast_object(compute: Callable[[], Result]) -> Result:
    """What `compute` returns in the main process, in all of them; the others wait."""
    box: list[Any] = [compute() if is_main_process() else None]
    if world_size() > 1:
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


class LossesOfStep(nn.Module):
    """Calls `losses(step)` within a forward pass: DistributedDataParallel then sees whatever they do with the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, losses: Losses, step: int) -> dict[str, Tensor]:
        return losses(step)


def data_parallel(model: nn.Module) -> nn.Module:
    """A module that is called with (losses, step) and averages the gradients of those losses over all processes.

    The main process's weights are copied to the others. From then on batch normalisation sees the global batch, so
    that its statistics are the same everywhere. A training's losses use the same parameters at every step.
    """
    step = LossesOfStep(model)
    if world_size() == 1:
        return step
    _synchronise_batch_norm(model)
    return DistributedDataParallel(step, static_graph=True)


def _synchronise_batch_norm(model: nn.Module) -> None:
    if next(model.parameters()).is_cuda:
        from timm.layers import convert_sync_batchnorm  # knows timm's layers; here, as a launcher needs no timm

        convert_sync_batchnorm(model)
        return
    for module in model.modules():
        if isinstance(module, BATCH_NORM):  # torch's SyncBatchNorm is for GPUs only
            module.register_forward_pre_hook(lambda layer, x: (all_gather(x[0]),) if layer.training else None)
            module.register_forward_hook(lambda layer, _, y: shard(y) if layer.training else None)
