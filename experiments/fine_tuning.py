"""How much sooner a model of War and Peace writes Shakespeare than one that begins from nothing.

Command: python -m experiments.fine_tuning --run DIR
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from jaxrnn import TrainConfig, open_run, train
from jaxrnn.terminal import run_app

OLD, NEW = "warpeace", "tinyshakespeare"
EVERY = 47  # a ninth of an epoch of the new text
EPOCHS = {"scratch": 5, "tuned": 2}
RECIPE: dict[str, Any] = {
    **{"cell": "lstm", "hidden": 128, "batch_size": 50, "bptt_length": 50, "optimizer": "rmsprop"},
    **{"learning_rate": 2e-3, "decay_rate": 0.97, "decay_after_epochs": 10, "loss_reduction": "mean"},
    **{"init": "uniform", "init_scale": 0.08, "validation_fraction": 0.05, "sample_every": 0, "devices": "1"},
}

app = cyclopts.App(name="python -m experiments.fine_tuning", help="A new text from an old model.", version_flags=[])


def curve(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Updates and validation losses of a run."""
    columns = open_run(run).metrics
    measured = np.isfinite(columns["valid/loss_nats"])
    return columns["valid/update"][measured].astype(int), columns["valid/loss_nats"][measured]


@app.default
def compare(
    *,
    run: Path,
    seeds: list[int] | None = None,
    source_epochs: int = 1,
    output: Path = Path("experiments/results/fine_tuning.csv"),
) -> None:
    """Trains the old model, and the new one from it and from nothing.

    Args:
      run: a directory of runs; the same command goes on where it was stopped.
      seeds: of the runs; 0, 1, 2 if not given.
      source_epochs: epochs of the old text.
      output: the table.
    """
    rows = []
    for seed in seeds or (0, 1, 2):
        source, scratch = run / f"source-{source_epochs}-{seed}", run / f"scratch-{seed}"
        tuned = run / f"tuned-{source_epochs}-{seed}"
        train(TrainConfig(text=OLD, epochs=source_epochs, seed=seed, **RECIPE), source)
        recipe: dict[str, Any] = {"text": NEW, "seed": seed, "validation_every": EVERY, "log_every": EVERY, **RECIPE}
        train(TrainConfig(epochs=EPOCHS["scratch"], **recipe), scratch)
        train(TrainConfig(epochs=EPOCHS["tuned"], **recipe), tuned, init_from=open_run(source))
        (updates, losses), (of_tuned, tuned_losses) = curve(scratch), curve(tuned)
        reached = of_tuned[tuned_losses <= losses[-1]]
        row = {
            "seed": seed,
            "source_epochs": source_epochs,
            "source_valid_loss_nats": f"{curve(source)[1][-1]:.4f}",
            "scratch_updates": updates[-1],
            "scratch_valid_loss_nats": f"{losses[-1]:.4f}",
            "tuned_updates_to_that_loss": reached[0] if len(reached) else "",
            "share": f"{reached[0] / updates[-1]:.3f}" if len(reached) else "",
            "tuned_valid_loss_after_one_epoch_nats": f"{tuned_losses[8]:.4f}",
            "scratch_valid_loss_after_one_epoch_nats": f"{losses[8]:.4f}",
            "tuned_valid_loss_at_end_nats": f"{tuned_losses[-1]:.4f}",
        }
        print(", ".join(f"{name} {value}" for name, value in row.items()))
        rows.append(row)
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    run_app(app)
