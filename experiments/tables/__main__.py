"""Makes the figures and tables of the documentation anew from the numbers that are committed; nothing is trained.

    python -m experiments.tables [--output DIR]     all figures, and the tables of experiments/README.md
    python -m experiments.tables --check            writes nothing; fails if a table is not the one of its numbers

Not of these are inside_*.png, which need War and Peace itself (`inside_warpeace.py`), and
grid_dropout_warpeace_128.png, whose run left no committed log (`language_model_grid figures`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from experiments.tables import book, figures, grid, tasks
from experiments.tables.read import HERE, with_tables
from jaxrnn.terminal import run_app

PAGE = HERE / "README.md"
TABLES: dict[str, Callable[[], str]] = {
    "book-lengths": book.lengths,
    "book-updates": book.updates,
    "book-epochs": book.epochs,
    "book-factors": book.factors,
    "book-words": book.words,
    "book-lstm": book.lstm_accuracy,
    "book-lstm-words": book.lstm_words,
    "gradient-tables": book.gradient_tables,
    "grid-64": lambda: grid.losses(64),
    "grid-128": lambda: grid.losses(128),
    "grid-rates": grid.rates,
    "grid-dropout": grid.dropout,
    "grid-published": grid.published_gaps,
    "palindromes-lengths": tasks.lengths,
    "palindromes-steps": tasks.steps,
    "palindromes-report-d": tasks.report_d,
    "palindromes-gradients": tasks.gradients,
    "temporal-gate": tasks.gate,
    "skip-connections": tasks.skips,
    "temperatures": tasks.temperatures,
    "text-by-epoch": tasks.text_by_epoch,
    "corpus-facts": tasks.corpus_facts,
}


def main(*, output: Path = HERE / "figures", check: bool = False) -> int:
    """Make figures and tables anew from the committed numbers.

    Args:
      output: the directory of the figures.
      check: only say whether the tables of experiments/README.md are those of the numbers.
    """
    page = PAGE.read_text("utf-8")
    made = with_tables(page, TABLES)
    if check:
        if made != page:
            print("experiments/README.md differs from its numbers; run python -m experiments.tables", file=sys.stderr)
        return int(made != page)
    PAGE.write_text(made, "utf-8")
    output.mkdir(parents=True, exist_ok=True)
    for name, draw in figures.FIGURES.items():
        draw(output / f"{name}.png")
        print(f"drew {output / name}.png", flush=True)
    return 0


if __name__ == "__main__":
    run_app(main)
