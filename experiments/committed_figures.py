"""Draws figures again from the numbers that are committed beside them; nothing is trained.

Command: python -m experiments.committed_figures [--output DIR]

palindromes_lengths.png, grid_depth_warpeace_64.png, grid_depth_warpeace_128.png and benchmark_cells.png, from
experiments/results; each is what the experiment of its name draws. The other figures need the logs of their runs: their
commands are in experiments/README.md.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from experiments.benchmark.cells_figure import save_figure
from experiments.language_model_grid.drawings import loss_by_depth
from experiments.palindromes.figures import draw_lengths
from jaxrnn.terminal import run_app

HERE = Path(__file__).parent
SIZES = (64, 128)


def read_csv(name: str) -> list[dict[str, Any]]:
    """The rows of a table of experiments/results: numbers as numbers, True and False as such."""
    with open(HERE / "results" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return [{column: _value(cell) for column, cell in row.items()} for row in csv.DictReader(file)]


def _value(cell: str) -> Any:
    if cell in ("True", "False"):
        return cell == "True"
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def main(*, output: Path = HERE / "figures") -> int:
    """Draw the committed figures again from the committed numbers.

    Args:
      output: the directory they are written into.
    """
    output.mkdir(parents=True, exist_ok=True)
    draw_lengths(read_csv("palindromes_lengths"), output / "palindromes_lengths.png")
    rows = read_csv("language_model_grid_warpeace")
    for size in SIZES:
        figure = loss_by_depth([row for row in rows if row["size"] == size])
        figure.savefig(output / f"grid_depth_warpeace_{size}.png", dpi=110)
    speeds = read_csv("benchmark_cells")
    shown = [{"row": row["row"], "ours_over": {"torch malloc": row["ours_malloc_over_torch_malloc"]}} for row in speeds]
    save_figure(shown, output / "benchmark_cells.png")
    return 0


if __name__ == "__main__":
    run_app(main)
