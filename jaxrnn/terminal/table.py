"""Columns of text, as wide as the terminal; where there is none, as wide as they are. And tables for notebooks."""

from __future__ import annotations

import html
import io
import shutil
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from jaxrnn.terminal.printable import printable

ROWS_AT_EITHER_END = 5  # of long columns in a notebook
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
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(shown)
    return "".join(line.rstrip() + "\n" for line in captured.get().splitlines())


def as_html(value: Any) -> str:
    r"""A value as text of a page: nothing in it is taken for markup, and what is not printable is escaped.

    Example:
      >>> as_html("<b>\x1b"), as_html(0.1 + 0.2)
      ('&lt;b&gt;\\x1b', '0.3')
    """
    return html.escape(printable(f"{value:.6g}" if isinstance(value, float) else str(value), keep=""))


def html_table(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as a table of a page, the first cell of each as its heading."""
    lines = (f"<th>{as_html(name)}</th>" + "".join(f"<td>{as_html(c)}</td>" for c in of) for name, *of in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


class Shown(dict[str, Any]):
    """A dict of numbers, or of columns, that a notebook shows as a table; of long columns the first and last rows."""

    def _repr_html_(self) -> str:
        rows = []
        for name, value in self.items():
            of = value.tolist() if hasattr(value, "tolist") else value
            if isinstance(of, list) and len(of) > 2 * ROWS_AT_EITHER_END:
                of = [*of[:ROWS_AT_EITHER_END], "…", *of[-ROWS_AT_EITHER_END:]]
            rows.append([name, *of] if isinstance(of, list) else [name, of])
        return html_table(rows)
