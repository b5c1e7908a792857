"""Columns of text, as wide as the terminal; where there is none, as wide as they are."""

from __future__ import annotations

import io
import shutil
from collections.abc import Collection, Sequence

from jaxrnn.terminal.printable import printable

WITHOUT_TERMINAL = 10_000  # columns: a line for each row, for programs that read it


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str] = ()) -> str:
    """The rows under their headings, a line for each where the terminal is wide enough; what it would obey is escaped.

    Args:
      head: the headings.
      rows: the cells of each row.
      numbers: headings of columns that are set to the right and never broken.

    Example:
      >>> print(table(["run", "loss"], [["one", "1.25"], ["another", "0.5"]], ["loss"]), end="")
      run      loss
      one      1.25
      another   0.5
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in head:
        is_number = name in numbers
        shown.add_column(
            Text(printable(name, keep="")), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold"
        )
    for row in rows:
        shown.add_row(*(Text(printable(cell, keep="")) for cell in row))
    width = shutil.get_terminal_size((WITHOUT_TERMINAL, 24)).columns
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(shown)
    return "".join(line.rstrip() + "\n" for line in captured.get().splitlines())
