"""Tables and pictures of the palindromes: accuracy against the update and against the length."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.palindromes.runs import Curve
from experiments.spread import spread

CHANCE = 0.1  # of ten digits
NEAR_PERFECT = 0.99  # D's line
SMOOTHED_UPDATES = 20
RECENT_UPDATES = 100


def by_cell_and_length(rows: list[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The rows of each cell and length, in the order of their first ones."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["cell"], row["sequence_length"]), []).append(row)
    return groups


def length_table(rows: list[dict[str, Any]]) -> str:
    """Accuracy of each cell at each length on fresh sequences, over the seeds, as Markdown."""
    lines = ["| cell | T | rate | seeds | accuracy | latest 100 | solved | diverged |", "|" + "---|" * 8]
    for (cell, length), group in by_cell_and_length(rows).items():
        ends = [row["status"] for row in group]
        cells = [cell, length, f"{group[0]['learning_rate']:.4g}", len(group)]
        cells += [spread([row[name] for row in group]) for name in ("valid_accuracy", "recent_accuracy")]
        cells += [f"{ends.count(end) / len(ends):.2f}" for end in ("solved", "diverged")]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    return "\n".join(lines)


def draw_lengths(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy on fresh sequences against T: a line of means and a band over the seeds for each cell."""
    groups, lines = by_cell_and_length(rows), {}
    for cell in dict.fromkeys(cell for cell, _ in groups):
        lengths = sorted(length for other, length in groups if other == cell)
        seeds = sorted(set.intersection(*({row["seed"] for row in groups[cell, length]} for length in lengths)))
        of = [{row["seed"]: row["valid_accuracy"] for row in groups[cell, length]} for length in lengths]
        lines[cell] = np.array(lengths), np.array([[at[seed] for at in of] for seed in seeds])
    _draw(lines, path, "Palindromes: accuracy against T", "T, digits read", "accuracy on 10,000 fresh sequences")


def _draw(lines: dict[str, tuple[np.ndarray, np.ndarray]], path: Path, title: str, x: str, y: str) -> None:
    from jaxrnn.inspect import STYLES, Figure, draw_seeds, plain_label

    figure = Figure(figsize=(9.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (name, (at, values)), style in zip(lines.items(), itertools.cycle(STYLES), strict=False):
        draw_seeds(axes, at, values, name, style)
    axes.axhline(NEAR_PERFECT, color="0.3", linestyle="--", linewidth=0.8, label=f"{NEAR_PERFECT:g}, report D's line")
    axes.axhline(CHANCE, color="0.5", linestyle=":", label="chance")
    axes.set(title=plain_label(title), xlabel=x, ylabel=y, ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    bands = "line: mean;\nband: lowest to highest seed"
    figure.legend(frameon=False, loc="outside right center", title=bands, title_fontsize="medium")
    figure.savefig(path, dpi=110)


def accuracies(curves: list[Curve]) -> np.ndarray:
    """The accuracy of every update, (seeds, updates). A member that ended early keeps the mean of its latest 100."""
    updates = max(len(curve.accuracy) for curve in curves)
    return np.stack(
        [
            np.pad(c.accuracy, (0, updates - len(c.accuracy)), constant_values=c.accuracy[-RECENT_UPDATES:].mean())
            for c in curves
        ]
    )


def smoothed(values: np.ndarray, updates: int) -> np.ndarray:
    """The mean over so many latest updates, fewer at first; along the last axis.

    Example:
      >>> import numpy as np
      >>> smoothed(np.array([[0.0, 1.0, 1.0]]), 2).tolist()
      [[0.0, 0.5, 1.0]]
    """
    sums = np.cumsum(values, axis=-1, dtype=np.float64)
    sums[..., updates:] -= sums[..., :-updates].copy()
    return sums / np.minimum(np.arange(1, values.shape[-1] + 1), updates)


def draw_curves(by_name: Mapping[str, list[Curve]], path: Path, title: str, updates: int = SMOOTHED_UPDATES) -> None:
    """Accuracy against the update: a line of means and a band over the seeds for each name, and D's 0.99."""
    found = {name: smoothed(accuracies(curves), updates) for name, curves in by_name.items()}
    lines = {name: (np.arange(1, values.shape[1] + 1), values) for name, values in found.items()}
    _draw(lines, path, f"Palindromes, {title}", "update", f"accuracy, mean of the latest {updates} updates")


def curve_table(by_name: Mapping[str, list[Curve]], at: list[int], updates: int = SMOOTHED_UPDATES) -> str:
    """Accuracy after so many updates, and the first update at which the mean over the seeds is near perfect."""
    lines = [
        "| | " + " | ".join(f"{u:,}" for u in at) + f" | first at {NEAR_PERFECT:g} |",
        "|---|" + "---|" * (1 + len(at)),
    ]
    for name, curves in by_name.items():
        values = smoothed(accuracies(curves), updates)
        columns = [str(spread(values[:, u - 1])) if u <= values.shape[1] else "" for u in at]
        reached = np.flatnonzero(values.mean(axis=0) >= NEAR_PERFECT)
        columns.append(f"{reached[0] + 1:,}" if len(reached) else "never")
        lines.append(f"| {name} | " + " | ".join(columns) + " |")
    return "\n".join(lines)
