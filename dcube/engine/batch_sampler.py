"""Sampling of batches as a pure function of the step, so that a resumed training needs no replay."""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from dcube.engine.distributed import shard, shard_size


class Sliceable(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, chunk: slice, /) -> Any: ...


Items = TypeVar("Items", bound=Sliceable)


def steps_per_epoch(items: int, batch_size: int) -> int:
    """Return the number of full batches; one batch of all items if they do not fill one."""
    return items // min(batch_size, items)


def steps_of(epochs: float, per_epoch: int) -> int:
    """Return the number of steps in `epochs`, at least one."""
    return max(1, round(epochs * per_epoch))


class DistributedBatchSampler(Generic[Items]):
    """Sampler of this process's shard of the batch of each step.

    All processes use the same order of an epoch's items. It is cut into batches, of which each process sees its shard;
    items that do not fill a batch are left out of that epoch.

    Args:
        items: number of items in an epoch.
        batch_size: size of the batch over all processes; all items if there are fewer.
        order: returns the items of an epoch in their order.

    Raises:
        DcubeError: if the batch cannot be divided equally among the processes.
    """

    def __init__(self, items: int, batch_size: int, order: Callable[[int], Items]) -> None:
        self.batch_size, self.order = min(batch_size, items), order
        self.steps_per_epoch = steps_per_epoch(items, batch_size)
        shard_size(self.batch_size)
        self._epoch = -1

    def steps_of(self, epochs: float) -> int:
        return steps_of(epochs, self.steps_per_epoch)

    def at(self, step: int) -> Items:
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._items = epoch, self.order(epoch)
        return shard(self._items[position * self.batch_size : (position + 1) * self.batch_size])
