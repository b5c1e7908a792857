"""Figures of finished or running grids: results.jsonl and the metrics.jsonl of each population, drawn.

    python -m experiments.language_model_grid figures RUN... --output DIR

What diverged or was retrained is in no figure but that of the losses by epoch. Where several seeds or folds were
trained, settings stand for their mean; by depth and in test minus validation a structure is its one best member.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from experiments.language_model_grid.drawings import (
    GridData,
    LeftOut,
    Row,
    best_dropout,
    best_rate,
    epochs_to_the_best,
    loss_by_depth,
    loss_by_epoch,
    seeds,
    unique,
    validation_gap,
)
from experiments.language_model_grid.results import identity
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect import Figure
from jaxrnn.storage import read_json, read_metrics
from jaxrnn.training import read_rows


def read_grids(runs: Iterable[Path]) -> GridData:
    """Results and epochs of grids. A member found twice counts once: its first result, its longest log.

    Raises:
      ConfigurationError: if a directory holds no grid.

    An excerpt (--characters) is named TEXT[:N], since what was published of the text is not of it.
    """
    rows: dict[str, Row] = {}
    histories: dict[str, tuple[Row, list[Row]]] = {}
    for run in runs:
        if not (run / "grid.json").is_file():
            raise ConfigurationError(f"{run} holds no grid; give the --run of one")
        characters = read_json(run / "grid.json").get("recipe", {}).get("characters")
        excerpt = f"[:{characters}]" if characters else ""
        for row in read_rows(run):
            row["text"] += excerpt
            rows.setdefault(identity(row), row)
        for members in sorted(run.glob("populations/*/members.json")):
            log = read_metrics(members.with_name("metrics.jsonl"))
            for number, row in enumerate(json.loads(members.read_text(encoding="utf-8"))):
                row["text"] += excerpt
                epochs = [entry for entry in log if entry["member"] == number]
                if len(epochs) > len(histories.get(identity(row), (row, []))[1]):
                    histories[identity(row)] = (row, epochs)
    return GridData(list(rows.values()), histories)


def draw_all(data: GridData, output: Path) -> list[str]:
    """Draws each figure that has its data into `output`; gives a line for each, drawn or left out with the reason."""
    output.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, draw in figures_of(data):
        try:
            figure = draw()
        except LeftOut as reason:
            lines.append(f"left out {name}: {reason}")
            continue
        path = output / f"{name}.png"
        figure.savefig(path, dpi=150)
        lines.append(f"drew {path}")
    return lines


def figures_of(data: GridData) -> list[tuple[str, Callable[[], Figure]]]:
    """Every figure by its file's name, and what draws it."""
    found: list[tuple[str, Callable[[], Figure]]] = []
    shown = [row for row, _ in data.histories.values() if not row["retrained"]]
    structures = unique(shown, "text", "cell", "layers", "size", "learning_rate")
    if not structures:
        found.append(("loss-by-epoch", partial(_nothing, "no metrics.jsonl has an epoch")))
    for text, cell, layers, size, rate in structures:
        name = f"loss-by-epoch-{text}-{cell}-{layers}-layers-size-{size}-rate-{rate:.4g}"
        key = {"text": text, "cell": cell, "layers": layers, "size": size, "learning_rate": rate}
        found.append((name, partial(loss_by_epoch, data, **key)))
    rows = [row for row in data.rows if row["status"] != "diverged" and not row["retrained"]]
    if not rows:
        found.append(("figures-of-results", partial(_nothing, "no member has a result")))
    for (text,) in unique(rows, "text"):
        of_text = [row for row in rows if row["text"] == text]
        for (cell,) in unique(of_text, "cell"):
            of_cell = [row for row in of_text if row["cell"] == cell]
            found.append((f"best-dropout-{text}-{cell}", partial(best_dropout, of_cell)))
        for (size,) in unique(of_text, "size"):
            of_size = [row for row in of_text if row["size"] == size]
            found.append((f"test-by-depth-{text}-size-{size}", partial(loss_by_depth, of_size)))
        for title, draw in (
            ("seeds", seeds),
            ("test-minus-validation", validation_gap),
            ("best-rate", best_rate),
            ("epochs-to-the-best", epochs_to_the_best),
        ):
            found.append((f"{title}-{text}", partial(draw, of_text)))
    return [(re.sub(r"[^\w.-]+", "-", name).strip("-"), draw) for name, draw in found]


def _nothing(reason: str) -> Figure:
    raise LeftOut(reason)
