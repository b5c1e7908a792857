"""The finished members of a sweep for people: in what they differ, and how they ended."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.storage.run_list import number, read_run
from jaxrnn.terminal.table import table

LOSSES = {"valid_loss": "validation", "train_loss": "training", "test_loss": "test"}


def sweep_table(members: Path, labels: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    """A row a member, the lowest validation loss first, or the lowest training loss where nothing is validated.

    What has diverged comes last.

    Args:
      members: the directory of the run directories.
      labels: by member, what it is called, the same names for all.
      rows: those of results.jsonl.
    """
    by = "valid_loss" if any(math.isfinite(row["valid_loss"]) for row in rows) else "train_loss"
    shown = [by, *(["test_loss"] if any("test_loss" in row for row in rows) else [])]
    found = next((path for row in rows if RunDirectory(path := members / row["member"]).exists()), None)
    unit = f", {of}" if found and (of := read_run(found).unit) else ""

    def place(row: Mapping[str, Any]) -> tuple[bool, float]:
        return row["end"] == "diverged", row[by] if math.isfinite(row[by]) else math.inf

    cells = [
        [
            *map(said, labels[row["member"]].values()),
            *(number(row[name]) if math.isfinite(row.get(name, math.nan)) else "" for name in shown),
            *(row["end"], f"{row['updates']:,}", f"members/{row['member']}"),
        ]
        for row in sorted(rows, key=place)
    ]
    names, losses = list(next(iter(labels.values()), {})), [LOSSES[name] + unit for name in shown]
    return table([*names, *losses, "end", "updates", "run"], cells, [*losses, "updates"])


def said(value: Any) -> str:
    """A setting's value in a table."""
    return value if isinstance(value, str) else json.dumps(value).replace("null", "not given")
