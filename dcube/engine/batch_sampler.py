"""Which items this process sees at a step: a function of the step alone, so that a resumed training needs no replay."""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from dcube.engine.distributed import shard, shard_size


class Sliceable(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, chunk: slice, /) -> Any: ...


Items = TypeVar("Items", bound=Sliceable)


def steps_per_epoch(items: int, batch_size: int) -> int:
    """Whole batches, or one of all items if there are fewer."""
    return items // min(batch_size, items)


def steps_of(epochs: float, per_epoch: int) -> int:
    """Of so many epochs, one at least."""
    return max(1, round(epochs * per_epoch))


class DistributedBatchSampler(Generic[Items]):
    """This process's shard of every step's batch.

    All processes have the same order of an epoch's items. It is cut into batches; what does not fill one is left out
    of that epoch. Together the processes see an item once.

    Args:
        items: how many an epoch has.
        batch_size: of all processes together; all items if there are fewer.
        order: epoch to its items in their order.

    Raises:
        DcubeError: the processes' shards would not be equal.
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
