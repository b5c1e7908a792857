"""Rows of the grid on disk, and the thesis's tables beside the numbers published.

A finished population is added to results.jsonl in one rename, so a row is there whole or not at all; results.csv is
written from it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

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

# Test loss in nats a character, LSTM of 1, 2 and 3 layers, then GRU; recipes of the thesis at 2 x 10^-2.2 and -2.5.
PUBLISHED = {
    "warpeace": {
        64: {
            "KJL": (1.449, 1.442, 1.540, 1.398, 1.373, 1.472),
            "2e-2.2": (1.492, 1.459, 1.484, 1.448, 1.403, 1.429),
            "2e-2.5": (1.531, 1.514, 1.544, 1.474, 1.424, 1.443),
            "2e-3": (1.809, 1.779, 3.064, 1.608, 1.567, 1.694),
        },
        128: {
            "KJL": (1.227, 1.227, 1.279, 1.230, 1.226, 1.253),
            "2e-2.2": (1.325, 1.318, 1.335, 1.325, 1.302, 1.326),
            "2e-2.5": (1.352, 1.356, 1.375, 1.337, 1.311, 1.333),
            "2e-3": (1.544, 1.573, 1.876, 1.434, 1.409, 1.502),
        },
        256: {
            "KJL": (1.189, 1.137, 1.141, 1.198, 1.164, 1.138),
            "2e-2.2": (1.303, 1.238, 1.254, 1.281, 1.234, 1.236),
            "2e-2.5": (1.285, 1.255, 1.297, 1.289, 1.227, 1.268),
            "2e-3": (1.397, 1.412, 1.532, 1.316, 1.313, 1.314),
        },
        512: {
            "KJL": (1.161, 1.092, 1.082, 1.170, 1.201, 1.107),
            "2e-2.2": (1.355, 1.223, 1.217, 1.268, 1.332, 1.547),
            "2e-2.5": (1.310, 1.205, 1.207, 1.266, 1.219, 1.197),
            "2e-3": (1.327, 1.303, 1.348, 1.274, 1.225, 1.234),
        },
    },
    "linux": {
        64: {
            "KJL": (1.355, 1.331, 1.366, 1.335, 1.298, 1.357),
            "2e-2.2": (1.639, 1.636, 1.641, 1.597, 1.573, 1.605),
            "2e-2.5": (1.660, 1.642, 1.657, 1.624, 1.583, 1.582),
        },
        128: {
            "KJL": (1.149, 1.128, 1.177, 1.154, 1.125, 1.150),
            "2e-2.2": (1.483, 1.435, 1.500, 1.482, 1.412, 1.447),
            "2e-2.5": (1.498, 1.476, 1.528, 1.487, 1.431, 1.472),
        },
        256: {
            "KJL": (1.026, 0.972, 0.998, 1.039, 0.991, 1.026),
            "2e-2.2": (1.475, 1.355, 1.375, 1.477, 1.366, 1.365),
            "2e-2.5": (1.468, 1.375, 1.388, 1.484, 1.359, 1.369),
        },
        512: {
            "KJL": (0.952, 0.840, 0.846, 0.943, 0.861, 0.829),
            "2e-2.2": (1.525, 1.331, 1.316, 1.515, 1.385, 1.323),
            "2e-2.5": (1.477, 1.338, 1.336, 1.493, 1.330, 1.327),
        },
    },
}  # fmt: skip


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


def rate_name(learning_rate: float) -> str | None:
    """The name of a published column, 2e-2.2 for 2 x 10^-2.2, or None if no table has this rate."""
    for name, exponent in (("2e-2.2", -2.2), ("2e-2.5", -2.5), ("2e-3", -3.0)):
        if math.isclose(learning_rate, 2 * 10**exponent, rel_tol=1e-4):
            return name
    return None


def published(text: str, cell: str, layers: int, size: int) -> dict[str, float]:
    """The published test losses of a cell: KJL's, and the thesis's by rate; empty where there are none."""
    kinds = {"lstm": 0, "gru": 3}
    kind = next((start for prefix, start in kinds.items() if cell.startswith(prefix)), None)
    columns = PUBLISHED.get(text, {}).get(size)
    if kind is None or columns is None or not 1 <= layers <= 3:
        return {}
    return {name: losses[kind + layers - 1] for name, losses in columns.items()}


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
        of_thesis = {name: loss for name, loss in known.items() if name != "KJL"}
        theirs = of_thesis.get(rate_name(row["learning_rate"]) or "", min(of_thesis.values(), default=None))
        test = row["test_loss_nats"]
        cells = [text, size, cell, layers, row["hidden"], f"{row['learning_rate']:.4g}", f"{row['dropout_rate']:g}"]
        cells += [row["best_epoch"], f"{row['valid_loss_nats']:.3f}", f"{test:.3f}"]
        cells += [f"{test - row['valid_loss_nats']:+.3f}"]
        for other in (theirs, known.get("KJL")):
            cells += ["", ""] if other is None else [f"{other:.3f}", f"{test - other:+.3f}"]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines) + "\n"
