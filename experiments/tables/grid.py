"""The tables of the grid of language models: our seeds beside the thesis and KJL as the thesis quotes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.language_model_grid.published import (
    KJL,
    VALIDATION,
    is_doubtful,
    of_thesis,
    published,
    rate_name,
)
from experiments.spread import spread
from experiments.tables.read import Row, markdown, read_csv, told

CELLS = {"lstm": "LSTM", "lstm-peephole": "LSTM, peepholes", "lstm-peephole-full": "LSTM, full peepholes",
         "gru-reset-before": "GRU"}  # fmt: skip
SETTINGS = ("cell", "layers", "size", "learning_rate", "dropout_sites", "dropout_rate")


def groups() -> dict[tuple, list[Row]]:
    """The rows of War and Peace by their settings, a row a seed."""
    found: dict[tuple, list[Row]] = {}
    for row in read_csv("language_model_grid_warpeace"):
        found.setdefault(tuple(row[name] for name in SETTINGS), []).append(row)
    return found


def _tests(rows: Sequence[Row]) -> list[float]:
    return [row["test_loss_nats"] for row in rows]


def _told(known: tuple[str, float] | None, rate: str | None) -> str:
    # Of another rate nothing stands there.
    return f"{known[1]:.3f}" if known and known[0] == rate else ""


def losses(size: int) -> str:
    """Without dropout: test and validation loss of each network by rate, the thesis at the same rate, KJL as quoted."""
    rows = []
    for (cell, layers, of_size, rate, _, dropout), members in sorted(groups().items(), key=str):
        if of_size != size or dropout:
            continue
        known, name = published("warpeace", cell, layers, size), rate_name(rate)
        thesis, best = _told(of_thesis(known, rate), name), of_thesis(known)
        doubt = " (?)" if is_doubtful("warpeace", cell, layers, size) else ""
        gap = f"{float(thesis) - spread(_tests(members)).mean:+.3f}" if thesis else ""
        validation = of_thesis(published("warpeace", cell, layers, size, VALIDATION), rate)
        ours = spread([row["valid_loss_nats"] for row in members]).mean
        cells = [CELLS[cell], layers, name, told(_tests(members), 3), thesis, gap, f"{ours:.3f}"]
        others = [_told(validation, name), f"{best[1]:.3f}" if best else "", f"{known[KJL]:.3f}{doubt}"]
        rows.append([*cells, *others])
    header = ["cell", "layers", "rate", "ours (seeds)", "thesis", "thesis - ours", "ours, validation"]
    header += ["thesis, validation", "its best rate", "KJL as quoted"]
    return markdown(header, rows)


def rates() -> str:
    """Test losses of the networks of several seeds, by rate and seed."""
    rows: list[list[Any]] = []
    for (cell, layers, size, rate, sites, dropout), members in sorted(groups().items(), key=str):
        if len(members) > 1:
            values = ", ".join(f"{loss:.3f}" for loss in _tests(members))
            name = f"{CELLS[cell]} x{layers}, size {size}" + (f", dropout {dropout} {sites}" if dropout else "")
            rows.append([name, rate_name(rate), values, told(_tests(members), 3)])
    return markdown(["network", "rate", "test loss of each seed", "mean and spread"], rows)


def dropout() -> str:
    """With dropout, at size 128: training, validation and test loss, of the rate and seed that have both."""
    rows = [
        [
            f"{CELLS[row['cell']]} x{row['layers']}",
            f"{row['dropout_sites']} {row['dropout_rate']:g}" if row["dropout_rate"] else "none",
            *(f"{row[f'{part}_loss_nats']:.3f}" for part in ("train", "valid", "test")),
        ]
        for row in read_csv("language_model_grid_warpeace")
        if row["size"] == 128 and row["cell"] in ("lstm", "gru-reset-before")
        if rate_name(row["learning_rate"]) == "2e-2.5" and row["seed"] == 0
    ]
    return markdown(["network", "dropout", "training", "validation", "test"], rows)


def published_gaps() -> str:
    """Test minus validation loss as the thesis's Table 5.2 has them, smallest and largest by text, beside ours."""
    rows = []
    for text in ("warpeace", "linux"):
        for name in ("2e-2.2", "2e-2.5"):
            found = [
                published(text, cell, layers, size)[name] - published(text, cell, layers, size, VALIDATION)[name]
                for size in (64, 128, 256, 512)
                for cell in ("lstm", "gru")
                for layers in (1, 2, 3)
            ]
            rows.append([f"thesis, {text}, {name}", f"{min(found):+.3f}", f"{max(found):+.3f}"])
    for text in ("warpeace", "python_stdlib"):
        of = [r["test_loss_nats"] - r["valid_loss_nats"] for r in read_csv(f"language_model_grid_{text}")]
        rows.append([f"ours, {text.replace('_', '-')}", f"{min(of):+.3f}", f"{max(of):+.3f}"])
    return markdown(["test minus validation", "smallest", "largest"], rows)
