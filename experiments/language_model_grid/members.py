"""What the grid trains: the recipe, the members of a command line, and their settings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from jaxrnn import TrainConfig
from jaxrnn.checks import check_choice, check_count, check_number, flag, word_of_now
from jaxrnn.config import CELL_NAMES, CHOICES, DROPOUT_SITES
from jaxrnn.errors import ConfigurationError

WITHOUT_BIAS = ("gru-reset-before",)  # as the thesis prints it
SIZES = (64, 128, 256, 512)


@dataclass(frozen=True)
class Recipe:
    """What all members of a grid share. The defaults are KJL's, but for the learning rate's."""

    text: str = "warpeace"
    characters: int | None = None
    epochs: int = 50
    batch_size: int = 100
    bptt_length: int = 100
    split: tuple[float, ...] = (0.8, 0.1, 0.1)
    folds: int = 1
    early_stopping: str = "none"
    patience: int = 5
    halving: bool = False
    init_scale: float = 0.08
    rmsprop_decay: float = 0.95
    clip_value: float = 5.0
    decay_rate: float = 0.95
    decay_after_epochs: int = 10
    forget_bias: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "early_stopping", word_of_now("early_stopping", self.early_stopping))
        check_choice("early_stopping", self.early_stopping, CHOICES["early_stopping"])
        for name in ("epochs", "batch_size", "bptt_length", "folds", "patience"):
            check_count(name, getattr(self, name), 1)
        if self.characters is not None:
            check_count("characters", self.characters, 100)
        if len(self.split) != 3 or min(self.split) <= 0 or abs(sum(self.split) - 1) > 1e-9:
            raise ConfigurationError(f"--split expects three positive shares whose sum is 1; got {self.split}")


def member_rows(
    recipe: Recipe,
    cells: list[str],
    layers: list[int],
    sizes: list[int],
    learning_rates: list[float],
    dropout_rates: list[float],
    dropout_sites: list[str],
    seeds: list[int],
) -> list[dict[str, Any]]:
    """Every combination once, the smallest models first. A network without a site is not trained at each rate of it."""
    given = {"cells": cells, "layers": layers, "sizes": sizes, "learning_rates": learning_rates}
    for name, values in (given | {"dropout_rates": dropout_rates, "seeds": seeds}).items():
        if not values:
            raise ConfigurationError(f"{flag(name)} expects at least one value, got none")
    for cell in cells:
        check_choice("cells", cell, CELL_NAMES)
    for name, counts in (("layers", layers), ("sizes", sizes)):
        for count in counts:
            check_count(name, count, 1)
    for rate in dropout_rates:
        check_number("dropout_rates", rate, 0, 1)
    known = [site.removeprefix("dropout_") for site in DROPOUT_SITES]
    for site in dropout_sites:
        check_choice("dropout_sites", site, tuple(known))
    rows: dict[str, dict[str, Any]] = {}
    combinations = itertools.product(
        sorted(sizes), cells, sorted(layers), dropout_rates, learning_rates, seeds, range(recipe.folds)
    )
    for size, cell, depth, dropout_rate, learning_rate, seed, fold in combinations:
        sites = [site for site in known if site in dropout_sites and (site != "between" or depth > 1)]
        rate = dropout_rate if sites else 0.0
        row = {
            "text": recipe.text,
            "cell": cell,
            "layers": depth,
            "size": size,
            "learning_rate": learning_rate,
            "dropout_sites": "+".join(sites) if rate else "",
            "dropout_rate": rate,
            "seed": seed,
            "fold": fold,
            "retrained": False,
        }
        rows.setdefault(str(row), row)
    return list(rows.values())


def with_hidden_size(row: dict[str, Any], vocabulary_size: int) -> dict[str, Any]:
    """The row with the hidden size and the number of parameters that its model size stands for."""
    from jaxrnn.models import hidden_size_for, model_parameters

    use_bias = row["cell"] not in WITHOUT_BIAS
    hidden = hidden_size_for(row["cell"], row["layers"], row["size"], vocabulary_size, use_bias)
    parameters = model_parameters(row["cell"], row["layers"], hidden, vocabulary_size, use_bias)
    return row | {"hidden": hidden, "parameters": parameters}


def settings_of(row: dict[str, Any], recipe: Recipe, epochs: int | None = None, **samples: Any) -> TrainConfig:
    """The settings of a member, as `jaxrnn train` takes them.

    Args:
      row: the member, with its hidden size.
      recipe: what all share.
      epochs: passes over its training data; the recipe's if None.
      samples: settings of the samples that it writes.
    """
    is_lstm = row["cell"].startswith(("lstm", "temporal"))
    sites = [site for site in row["dropout_sites"].split("+") if site]
    by_cell: dict[str, Any] = {f"dropout_{site}": row["dropout_rate"] for site in sites}
    if is_lstm:
        by_cell["forget_bias"] = recipe.forget_bias
    return TrainConfig(
        text=recipe.text,
        cell=row["cell"],
        hidden=row["hidden"],
        layers=row["layers"],
        cell_bias=row["cell"] not in WITHOUT_BIAS,
        init="uniform",
        init_scale=recipe.init_scale,
        bptt_length=recipe.bptt_length,
        batch_size=recipe.batch_size,
        optimizer="rmsprop",
        learning_rate=row["learning_rate"],
        rmsprop_decay=recipe.rmsprop_decay,
        clip_value=recipe.clip_value,
        decay_rate=recipe.decay_rate,
        decay_after_epochs=recipe.decay_after_epochs,
        early_stopping="none" if row["retrained"] else recipe.early_stopping,
        patience=recipe.patience,
        loss_reduction="mean",
        epochs=epochs or recipe.epochs,
        seed=row["seed"],
        validation_fraction=recipe.split[1],
        test_fraction=recipe.split[2],
        folds=recipe.folds,
        fold=row["fold"],
        retrain=row["retrained"],
        **samples,
        **by_cell,
    )


def size_table(vocabulary_size: int) -> str:
    """Hidden sizes of equal cost as Markdown: the size, its parameters, and how far they are from the budget."""
    from jaxrnn.models import model_parameters

    check_count("vocabulary_size", vocabulary_size, 1)
    lines = ["| cell | layers | " + " | ".join(f"size {size}" for size in SIZES) + " |", "|---|---|" + "---|" * 4]
    budgets = {size: model_parameters("lstm", 1, size, vocabulary_size) for size in SIZES}
    lines.append("| budget | | " + " | ".join(f"{budgets[size]:,}" for size in SIZES) + " |")
    for cell in ("lstm", "lstm-peephole", "lstm-peephole-full", "gru", "gru-reset-before"):
        for layers in (1, 2, 3):
            cells = []
            for size in SIZES:
                row = with_hidden_size({"cell": cell, "layers": layers, "size": size}, vocabulary_size)
                off = row["parameters"] / budgets[size] - 1
                cells.append(f"{row['hidden']}: {row['parameters']:,} ({off:+.2%})")
            lines.append(f"| {cell} | {layers} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
