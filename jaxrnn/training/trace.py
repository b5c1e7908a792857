"""A trace of some updates of a run, for Perfetto or TensorBoard: `--profile`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.files_inside import open_new, refuse_linked_directory, writing
from jaxrnn.terminal.printable import first_line, printable
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.callbacks import Callback


def refuse_more_than_there_are(updates: int, done: int, total: int) -> None:
    """Refuses a trace of more updates than are to come; the first of them is not traced.

    Raises:
      ConfigurationError: with those that were asked for.
    """
    first, last = done + 2, done + 1 + updates
    if updates and last > total:
        raise ConfigurationError(
            f"--profile {updates} traces updates {first:,} to {last:,}, the run ends at {total:,}; give fewer or more "
            "--updates"
        )


@contextlib.contextmanager
def tracing(updates: int, run: Path | None, progress: Progress) -> Iterator[Callable[[int, int], list[Callback]]]:
    """Gives what makes the callbacks of a run's loop: `callbacks(updates done, updates in all)`.

    One update goes before, which is slower than the others: buffers are made. A run that ends or is stopped on the way
    leaves a shorter trace.

    Args:
      updates: how many are traced; 0 makes no callbacks.
      run: the run directory, in which profile/ is made.
      progress: is told where the trace is, or in a warning why there is none: training goes on.

    Raises:
      ConfigurationError: if there is no run directory; from `callbacks` if the run has fewer updates left.
      CheckpointError: from `callbacks` if profile/ is a link.
      StorageError: from `callbacks` if nothing can be written there.
    """
    if not updates:
        yield lambda done, total: []
        return
    if run is None:
        raise ConfigurationError(f"--profile {updates} writes into a run directory; give one, or leave it out")
    folder, seen = run / "profile", list[int]()

    def begin(update: int, trainer: Any) -> None:
        jax.profiler.start_trace(folder, create_perfetto_trace=True)
        seen.append(update)

    def end(update: int, trainer: Any) -> None:
        if not seen:
            return
        first = seen.pop() + 1
        try:
            jax.profiler.stop_trace()
            newest = max(folder.rglob("perfetto_trace.json.gz"), key=os.path.getmtime)
        except (OSError, RuntimeError, ValueError) as error:  # also JAX's own; ValueError: it is not there
            progress.warning(f"no trace could be written into {folder}: {first_line(error)}")
            return
        progress.message(
            f"trace of {f'updates {first:,} to {update:,}' if update else 'the updates so far'}: open "
            f"{printable(str(newest))} in https://ui.perfetto.dev, or run: tensorboard --logdir {folder} (with its "
            "plugin xprof)"
        )

    def callbacks(done: int, total: int) -> list[Callback]:
        refuse_more_than_there_are(updates, done, total)
        refuse_linked_directory(folder)
        probe = folder / f".write-test-{os.getpid()}"
        with writing(folder, "free some space, or leave --profile out"):
            folder.mkdir(exist_ok=True)
            os.close(open_new(probe))
            probe.unlink()
        return [([done + 1], begin), ([done + 1 + updates], end)]

    try:
        yield callbacks
    finally:
        end(0, None)
