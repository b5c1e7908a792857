"""A table of numbers in one file, whole or not there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jaxrnn.storage import write_atomically


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Writes the rows, the names of the columns first."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    write_atomically(path, lines.getvalue())
