"""The committed numbers, and the tables of a page that are made of them."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.spread import spread

HERE = Path(__file__).parent.parent
Row = dict[str, Any]
# A table of a page stands between two comments that Markdown does not show.
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def read_csv(name: str) -> list[Row]:
    """The rows of a table of experiments/results: numbers as numbers, True and False as such, nothing as None."""
    with open(HERE / "results" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return [{column: _value(cell) for column, cell in row.items()} for row in csv.DictReader(file)]


def read_columns(name: str) -> dict[str, np.ndarray]:
    """The columns of such a table, all of numbers; NaN where there is nothing."""
    rows = read_csv(name)
    return {column: np.array([math.nan if row[column] is None else row[column] for row in rows]) for column in rows[0]}


def _value(cell: str) -> Any:
    if cell in ("True", "False", ""):
        return {"True": True, "False": False, "": None}[cell]
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown.

    Example:
      >>> print(markdown(["T", "loss"], [[5, "1.2"]]), end="")
      | T | loss |
      |---|---|
      | 5 | 1.2 |
    """
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "".join(line + "\n" for line in [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def told(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation (n - 1) with so many digits, and how many there are.

    Example:
      >>> told([1.0, 3.0], 1), told([2.0], 1)
      ('2.0 +- 1.4 (2)', '2.0 (1)')
    """
    return f"{spread(values).told(digits)} ({len(values)})"


def with_tables(page: str, tables: dict[str, Callable[[], str]]) -> str:
    """The page with each of its tables made anew.

    Example:
      >>> with_tables("a<!-- table: x -->\\nold<!-- end of table -->b", {"x": lambda: "new\\n"})
      'a<!-- table: x -->\\nnew\\n<!-- end of table -->b'
    """
    return BLOCK.sub(lambda found: found[1] + tables[found[2]]() + found[3], page)
