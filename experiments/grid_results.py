"""Rows of the grid on disk, and the best of them beside the numbers published.

A finished population is added to results.jsonl in one rename, so a row is there whole or not at all; results.csv is
written from it.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from experiments.grid_published import of_thesis, published
from jaxrnn.run_logs import json_number, read_metrics
from jaxrnn.small_files import write_atomically

# What tells one member from another; the other columns are what came out.
IDENTITY = (
    "text", "cell", "layers", "size", "hidden", "learning_rate", "dropout_sites", "dropout_rate", "seed", "fold",
    "retrained",
)  # fmt: skip
COLUMNS = (
    *IDENTITY, "parameters", "status", "epochs", "best_epoch", "train_loss_nats", "valid_loss_nats", "test_loss_nats",
    "skipped", "seconds",
)  # fmt: skip


def identity(row: dict[str, Any]) -> str:
    """What tells this member from another, as one string."""
    return json.dumps({name: row[name] for name in IDENTITY}, sort_keys=True)


def read_results(directory: Path) -> list[dict[str, Any]]:
    """The rows of every finished member."""
    return read_metrics(directory / "results.jsonl")


def add_results(directory: Path, rows: list[dict[str, Any]]) -> None:
    """Adds the rows of a finished population, all in one rename, and writes results.csv anew."""
    rows = [*read_results(directory), *rows]
    as_json = ({k: json_number(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    write_atomically(directory / "results.jsonl", "".join(json.dumps(row) + "\n" for row in as_json))
    write_csv(directory, rows)


def write_csv(directory: Path, rows: list[dict[str, Any]]) -> None:
    """Writes results.csv: a row a member, columns as in `COLUMNS`."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: row[name] for name in COLUMNS} for row in rows)
    write_atomically(directory / "results.csv", table.getvalue())


def best_by_validation(rows: list[dict[str, Any]]) -> dict[tuple[str, str, int, int], dict[str, Any]]:
    """The row with the lowest validation loss of each text, cell, depth and size; what diverged or was retrained apart.

    Example:
      >>> row = {"text": "a", "cell": "gru", "layers": 1, "size": 8, "status": "finished", "retrained": False}
      >>> rows = [row | {"valid_loss_nats": 2.0}, row | {"valid_loss_nats": 1.0}]
      >>> best_by_validation(rows)["a", "gru", 1, 8]["valid_loss_nats"]
      1.0
    """
    best: dict[tuple[str, str, int, int], dict[str, Any]] = {}
    for row in rows:
        if row["status"] == "diverged" or row["retrained"]:
            continue
        key = (row["text"], row["cell"], row["layers"], row["size"])
        if key not in best or row["valid_loss_nats"] < best[key]["valid_loss_nats"]:
            best[key] = row
    return best


def thesis_table(rows: list[dict[str, Any]]) -> str:
    """The best of each cell, depth and size by validation, as Markdown, with differences to what was published.

    The thesis's number is that of the same rate where it has one, else its best.
    """
    lines = [
        "| text | size | cell | layers | H | rate | dropout | epoch | valid | test | test - valid | thesis | ours - "
        "thesis | KJL | ours - KJL |",
        "|" + "---|" * 15,
    ]
    best = best_by_validation(rows)
    for text, cell, layers, size in sorted(best, key=lambda key: (key[0], key[3], key[1], key[2])):
        row = best[text, cell, layers, size]
        known = published(text, cell, layers, size)
        theirs = of_thesis(known, row["learning_rate"])
        test = row["test_loss_nats"]
        cells = [text, size, cell, layers, row["hidden"], f"{row['learning_rate']:.4g}", f"{row['dropout_rate']:g}"]
        cells += [row["best_epoch"], f"{row['valid_loss_nats']:.3f}", f"{test:.3f}"]
        cells += [f"{test - row['valid_loss_nats']:+.3f}"]
        for other in (theirs, known.get("KJL")):
            cells += ["", ""] if other is None else [f"{other:.3f}", f"{test - other:+.3f}"]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines) + "\n"
