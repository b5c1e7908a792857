"""Rows of the grid, and the best of them beside the numbers published."""

from __future__ import annotations

import json
from typing import Any

from experiments.language_model_grid.published import is_doubtful, of_thesis, published, rate_name

# What tells one member from another; the other columns are what came out.
IDENTITY = (
    "text", "cell", "layers", "size", "hidden", "learning_rate", "dropout_sites", "dropout_rate", "seed", "fold",
    "retrained",
)  # fmt: skip
COLUMNS = (
    *IDENTITY, "parameters", "status", "epochs", "best_epoch", "train_loss_nats", "valid_loss_nats", "test_loss_nats",
    "skipped", "seconds", "member",
)  # fmt: skip


def identity(row: dict[str, Any]) -> str:
    """What tells this member from another, as one string."""
    return json.dumps({name: row[name] for name in IDENTITY}, sort_keys=True)


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


def thesis_table(rows: list[dict[str, Any]], whole: bool = True) -> str:
    """The best of each cell, depth and size by validation, as Markdown, with differences to what was published.

    The thesis's number is that of the same rate; where it has none, its best, and then the rate stands beside it. KJL's
    are those that the thesis quotes, a (?) marks what is probably a misprint.

    Args:
      rows: results.
      whole: whether the whole text was read. An excerpt is another text: nothing published stands beside it.
    """
    lines = [
        "| text | size | cell | layers | H | rate | dropout | epoch | valid | test | test - valid | thesis | ours - "
        "thesis | KJL as quoted | ours - KJL |",
        "|" + "---|" * 15,
    ]
    best = best_by_validation(rows)
    for text, cell, layers, size in sorted(best, key=lambda key: (key[0], key[3], key[1], key[2])):
        row = best[text, cell, layers, size]
        known = published(text, cell, layers, size) if whole else {}
        theirs = of_thesis(known, row["learning_rate"])
        test = row["test_loss_nats"]
        cells = [text, size, cell, layers, row["hidden"], f"{row['learning_rate']:.4g}", f"{row['dropout_rate']:g}"]
        cells += [row["best_epoch"], f"{row['valid_loss_nats']:.3f}", f"{test:.3f}"]
        cells += [f"{test - row['valid_loss_nats']:+.3f}"]
        other_rate = f" (its best rate, {theirs[0]})" if theirs and theirs[0] != rate_name(row["learning_rate"]) else ""
        cells += [f"{theirs[1]:.3f}{other_rate}", f"{test - theirs[1]:+.3f}"] if theirs else ["", ""]
        doubt = " (?)" if is_doubtful(text, cell, layers, size) else ""
        cells += [f"{known['KJL']:.3f}{doubt}", f"{test - known['KJL']:+.3f}{doubt}"] if known else ["", ""]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines) + "\n"
