"""A bar for what reads a large file, on stderr; a line where that is no terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from jaxrnn.terminal.printable import printable

LONG = 64 << 20  # bytes: what is read in a second or so needs no bar


@contextlib.contextmanager
def reading_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to be told of the bytes as they are read.

    Args:
      what: is done, with the name of the file; escaped here.
      total: bytes that will be read.
    """
    shown = printable(what, keep="")
    if total < LONG or sys.stderr is None:
        yield lambda count: None
        return
    if not sys.stderr.isatty():
        with contextlib.suppress(OSError, ValueError):  # a closed stderr must not end the run
            print(f"{shown}: {total / 2**30:.2f} GiB to read", file=sys.stderr, flush=True)
        yield lambda count: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(shown), total=total)
        yield lambda count: bar.advance(task, count)
