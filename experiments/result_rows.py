"""Rows of finished members on disk: results.jsonl, added to in one rename, and results.csv, written from it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxrnn.storage.logs import json_number, read_metrics
from jaxrnn.storage.small_files import write_atomically


def read_rows(directory: Path) -> list[dict[str, Any]]:
    """The rows of every finished member."""
    return read_metrics(directory / "results.jsonl")


def add_rows(directory: Path, new: list[dict[str, Any]], columns: Sequence[str]) -> None:
    """Adds rows, all in one rename, so that each is there whole or not at all; and writes results.csv anew."""
    rows = [*read_rows(directory), *new]
    as_json = ({k: json_number(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    write_atomically(directory / "results.jsonl", "".join(json.dumps(row) + "\n" for row in as_json))
    write_csv(directory, rows, columns)


def write_csv(directory: Path, rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    """Writes results.csv: a row a member, with these columns."""
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: row[name] for name in columns} for row in rows)
    write_atomically(directory / "results.csv", table.getvalue())
