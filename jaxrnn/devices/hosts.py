"""Several processes, on one machine or on many, as one program: who writes, and what all of them must agree on.

Every process runs the same code on the same values; the arrays on devices are spread over all. Alone, a process pays
nothing for any of this.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.progress import Progress, Silent

MOST_SHOWN = 6
_READS = itertools.count()


def is_writer() -> bool:
    """Whether this process writes the files: one of all does."""
    return jax.process_index() == 0


def progress_here() -> Progress:
    """What a person sees of a job: the writer tells of it, the others are silent."""
    return Progress() if is_writer() else Silent()


def on_this_host(tree: Any) -> Any:
    """Arrays as NumPy arrays of their own, with the parts that other processes hold."""

    def whole(array: Any) -> np.ndarray:
        if getattr(array, "is_fully_addressable", True) or array.is_fully_replicated:
            return np.array(array)
        from jax.experimental import multihost_utils

        return np.array(multihost_utils.process_allgather(array, tiled=True))

    return jax.tree.map(whole, tree)


def of_writer(value: Any) -> Any:
    """What the writer knows, on every process: anything that JSON can hold."""
    return of_process(value, 0)


def of_process(value: Any, process: int) -> Any:
    """What one process knows, on every one: anything that JSON can hold."""
    if jax.process_count() == 1:
        return value
    content = json.dumps(value).encode() if jax.process_index() == process else b""
    size = int(_sent(np.int32(len(content)), process))
    # Each length is a program of its own: few of them are sent.
    padded = np.zeros(max(64, 1 << (size - 1).bit_length()), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return json.loads(_sent(padded, process)[:size].tobytes())


def refuse_processes_that_differ(values: dict[str, Any]) -> None:
    """Compares what all processes have to bring alike, by its name; each of them says which differs, and in what.

    Args:
      values: anything that JSON can hold.

    Raises:
      ConfigurationError: on every process, if one has other values than the writer.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    mine = {name: json.dumps(value) for name, value in values.items()}
    writers = of_writer(mine)
    names = sorted(name for name in writers | mine if writers.get(name) != mine.get(name))
    differs = multihost_utils.process_allgather(np.bool_(bool(names)))
    if not differs.any():
        return
    process = int(np.argmax(differs))
    details = of_process(
        [f"{name:<24} process 0: {writers.get(name)}  there: {mine.get(name)}" for name in names], process
    )
    names = of_process(names, process)
    raise ConfigurationError(
        f"process {process} differs from process 0 in {', '.join(names[:MOST_SHOWN])}; start all of them with the same "
        "settings, texts and releases",
        [printable(line)[:200] for line in details[:MOST_SHOWN]],
    )


def arrays_of_writer(tree: Any) -> Any:
    """The writer's NumPy arrays on every process, bit for bit; all give a tree of the same form."""
    if jax.process_count() == 1:
        return tree
    leaves, form = jax.tree.flatten(tree)
    content = _sent(np.concatenate([np.ascontiguousarray(leaf).reshape(-1).view(np.uint8) for leaf in leaves]))
    parts = np.split(content, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    same = [part.copy().view(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(form, same)


def _sent(array: Any, process: int = 0) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array, is_source=jax.process_index() == process))


def any_process(flag: bool) -> bool:
    """Whether the flag is set on one of the processes at least."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.bool_(flag))))


def training_begins(saved_updates: Callable[[], Sequence[Sequence[int]]]) -> None:
    """Has this process end as by a stop if another one is lost from here on: see `jaxrnn.devices.lost`."""
    if jax.process_count() > 1:
        from jaxrnn.devices import lost

        lost.training_begins(saved_updates)


@contextlib.contextmanager
def reading_alone() -> Iterator[None]:
    """Lets the writer read a checkpoint by itself; Orbax waits for all processes otherwise.

    Orbax numbers its operations in each process, reads too, and a save waits for processes of the same number: without
    the number of before, the next save of all would wait for ever. It has no public name for it.
    """
    if jax.process_count() == 1:
        yield
        return
    from orbax.checkpoint import v1 as ocp
    from orbax.checkpoint._src.futures.synchronization import OperationIdGenerator as numbers

    before = int(numbers.get_current_operation_id())
    alone = ocp.Context()
    alone.multiprocessing.primary_host = 0
    alone.multiprocessing.active_processes = {0}
    alone.multiprocessing.barrier_sync_key_prefix = f"jaxrnn_writer_{next(_READS)}"  # a barrier's name is used once
    try:
        with alone:
            yield
    finally:
        numbers._operation_id, numbers._operation_id_counter = before, itertools.count(before + 1)
