"""Training in several processes by torch.distributed: each process computes the losses of its shard of a batch.

torchrun starts the processes, on one node or several. Without torchrun, the functions here work for one process.
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

# How long a process waits for the others. The main process alone measures FID and downloads checkpoints.
TIMEOUT = timedelta(hours=1)
SECONDS_TO_BE_ENDED = 10

Result = TypeVar("Result")
Losses = Callable[[int], dict[str, Tensor]]


@contextmanager
def joined_processes() -> Iterator[None]:
    """Join the process group if torchrun has started this process.

    The first process that fails reports its error. The others fail as a consequence and report nothing: they wait for
    torchrun to end them.
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
        return False  # the store is gone because the main process has ended


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Return whether this is the process that measures, saves and logs."""
    return rank() == 0


@contextmanager
def progress_of_all(description: str, total: int, unit: str, completed: int = 0) -> Iterator[Advance]:
    """Like `progress`, for work that all processes do alike: only the main process shows its progress."""
    if is_main_process():
        with progress(description, total, unit, completed) as advance:
            yield advance
    else:
        yield lambda *_, **__: None


def shard(items: Any) -> Any:
    """Return this process's contiguous part of a sliceable object. Parts differ by one item at most."""
    n = len(items)
    return items[n * rank() // world_size() : n * (rank() + 1) // world_size()]


def shard_size(batch_size: int) -> int:
    """Return the number of images of a training batch for each process.

    Raises:
        DcubeError: if the processes would get different numbers: the mean of their losses would not be the batch's.
    """
    if batch_size % world_size():
        raise DcubeError(
            f"a batch of {batch_size} images cannot be divided equally among {world_size()} processes: "
            "change the batch size or the number of processes"
        )
    return batch_size // world_size()


def all_reduce_mean(value: Tensor) -> Tensor:
    """Return the mean over all processes, without gradient."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def all_gather(part: Tensor) -> Tensor:
    """Concatenate the parts of all processes, which must have equal length. Differentiable."""
    return _AllGather.apply(part) if world_size() > 1 else part


class _AllGather(torch.autograd.Function):
    """Differentiable all-gather. Those of torch are deprecated, or private and renamed between releases."""

    @staticmethod
    def forward(_context: Any, part: Tensor) -> Tensor:
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(world_size())]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()  # the loss of each process depends on every part
        dist.all_reduce(total)
        return shard(total)


def gather_uneven(part: Tensor) -> Tensor:
    """Concatenate the parts of all processes, on the CPU, which may differ in length. Without gradient."""
    parts: list[Any] = [part] * world_size()
    if world_size() > 1:
        dist.all_gather_object(parts, part)
    return torch.cat(parts)


def broadcast_object(compute: Callable[[], Result]) -> Result:
    """Call `compute` in the main process only, and return its result in all processes."""
    box: list[Any] = [compute() if is_main_process() else None]
    if world_size() > 1:
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


class LossesOfStep(nn.Module):
    """Module that calls `losses(step)` in its forward pass: DistributedDataParallel then covers all uses of `model`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, losses: Losses, step: int) -> dict[str, Tensor]:
        return losses(step)


def data_parallel(model: nn.Module) -> nn.Module:
    """Return a module that is called with (losses, step) and averages the gradients over all processes.

    The main process's weights are copied to the others. Batch norm then uses the global batch, so that its statistics
    are the same in all processes. The losses of a training must use the same parameters at every step.
    """
    step = LossesOfStep(model)
    if world_size() == 1:
        return step
    _synchronise_batch_norm(model)
    return DistributedDataParallel(step, static_graph=True)


def _synchronise_batch_norm(model: nn.Module) -> None:
    if next(model.parameters()).is_cuda:
        from timm.layers import convert_sync_batchnorm  # covers timm's layers; the launcher needs no timm

        convert_sync_batchnorm(model)
        return
    for module in model.modules():
        if isinstance(module, BATCH_NORM):  # torch's SyncBatchNorm is for GPUs only
            module.register_forward_pre_hook(lambda layer, x: (all_gather(x[0]),) if layer.training else None)
            module.register_forward_hook(lambda layer, _, y: shard(y) if layer.training else None)
