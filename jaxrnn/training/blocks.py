"""A text too large for the devices, given to them block by block: one is trained on, the next is on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jaxrnn.tasks.protocol import Task
from jaxrnn.training.chunk import MAX_CHUNK_UPDATES
from jaxrnn.training.members import Feed


def most_updates(task: Task, update: int) -> int:
    """How many updates from this one on read what the devices have been given."""
    if task.block:
        window = update % task.windows_per_epoch
        return min(task.block - window % task.block, task.windows_per_epoch - window)
    return task.fed or MAX_CHUNK_UPDATES


def feed_of(tasks: Sequence[Task], put: Callable[[list[Any]], Any]) -> Feed | None:
    """What gives the tasks' streams as training goes on; None where they stay the same. `put` places them."""
    if tasks[0].block:
        return Blocks(tasks, put)
    return (lambda update, updates: put([tasks[0].streams(update, updates)])) if tasks[0].fed else None


class Blocks:
    """`feed` of `Alone` and `Members` for tasks with a `block`; which one is needed follows from the update alone.

    The next block is read and put on the devices by a thread of its own while this one is trained on. At most two are
    there, and for the moment in which they change a third.

    Args:
      tasks: of one size, each with blocks.
      put: places what their `streams` gave.
    """

    def __init__(self, tasks: Sequence[Task], put: Callable[[list[Any]], Any]):
        self._tasks, self._put = tasks, put
        self._block, self._windows = tasks[0].block, tasks[0].windows_per_epoch
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._now: tuple[int, Any] = (-1, None)
        self._ahead: tuple[int, Future[Any] | None] = (-1, None)

    def __call__(self, update: int, updates: int) -> Any:
        """The block of the next update, on the devices."""
        first = self._first(update)
        if self._now[0] == first:
            return self._now[1]
        number, coming = self._ahead
        self._now = first, coming.result() if coming is not None and number == first else self._read(first)
        following = self._first(update + most_updates(self._tasks[0], update))
        if following != first:
            self._ahead = following, self._thread.submit(self._read, following)
        return self._now[1]

    def _first(self, update: int) -> int:
        window = update % self._windows
        return window - window % self._block

    def _read(self, first: int) -> Any:
        return self._put([task.streams(first) for task in self._tasks])
