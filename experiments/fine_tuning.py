"""How much sooner a model of War and Peace writes Shakespeare than one that begins from nothing.

Command: python -m experiments.fine_tuning --run DIR
         python -m experiments.fine_tuning symbols --run DIR

One LSTM of 128 units in char-rnn's recipe (batch 50, windows of 50, RMSprop at 2e-3): five epochs of Shakespeare from
drawn parameters; and, from three epochs of War and Peace, two epochs. The first command counts updates until the second
has the validation loss that the first ends with; three seeds, results/fine_tuning.csv. `--source-epochs 1` trains the
old model for less. The second command compares ways in which symbols that the old text lacks could begin.

Obtained on two cores of an AMD EPYC (Zen 4), no GPU, Python 3.11, jax 0.10.2, beside other work, 2026-11-26:
    three epochs of War and Peace (validation 1.569, 1.566, 1.577): what five epochs of Shakespeare reach from nothing
    (1.830, 1.812, 1.796 after 2,115 updates) is reached after 188, 282 and 282 updates, 9, 13 and 13 % of them.
    one epoch (1.852, 1.852, 1.860; --output results/fine_tuning_one_epoch.csv): after 611 (29 %), and not within two
    epochs, 846 updates (40 %), by the other two, which end 0.003 and 0.002 nats above.
    symbols, seed 0, beside other work, by an earlier form of it: 25 of the 103 symbols of python-reference are
    new; loss of update 1, and of updates 91 to 100, nats: means 3.095, 1.831; W_x drawn, else means 3.092, 1.830; drawn
    with the bias 0 3.156, 1.838, with the mean bias 3.145, 1.836, with the least 3.092, 1.832.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from jaxrnn import TrainConfig, Trainer, open_run, train
from jaxrnn.terminal import run_app
from jaxrnn.training import make_job

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
    source_epochs: int = 3,
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


@app.command
def symbols(*, run: Path, source_epochs: int = 3, seed: int = 0, text: str = "python-reference") -> None:
    """Compares ways in which the new symbols of a text that has many could begin, by the losses of 100 updates.

    Args:
      run: where `compare` has trained the old model.
      source_epochs, seed: of it.
      text: a text with other symbols.
    """
    source = open_run(run / f"source-{source_epochs}-{seed}")
    job = make_job(
        TrainConfig(text=text, updates=100, seed=1, **RECIPE | {"validation_fraction": 0.0}), init_from=source
    )
    of = job.task.vocabulary.symbols
    new = np.array([place for place, symbol in enumerate(of) if symbol not in source.vocabulary.symbols])
    drawn = Trainer.of([job._replace(given=None)]).params()
    print(f"{len(new)} of {len(of)} symbols are new")
    least = float(np.delete(np.asarray(Trainer.of([job]).params()["b_y"]), new).min())
    for name, read, foretold, bias in (
        ("means", False, False, None),
        ("W_x drawn, else means", True, False, None),
        ("drawn, b_y mean", True, True, None),
        ("drawn, b_y least", True, True, least),
        ("drawn, b_y 0", True, True, 0.0),
    ):

        def begin(values: Any, read: bool = read, foretold: bool = foretold, bias: float | None = bias) -> Any:
            params = job.given(values)  # type: ignore[misc]
            lowest = params["stack"]["layers"][0]
            if read:
                lowest["W_x"] = lowest["W_x"].at[new].set(drawn["stack"]["layers"][0]["W_x"][new])
            if foretold:
                params["W_y"] = params["W_y"].at[:, new].set(drawn["W_y"][:, new])
            if bias is not None:
                params["b_y"] = params["b_y"].at[new].set(bias)
            return params

        losses = Trainer.of([job._replace(given=begin)]).advance(100)[0].loss
        print(f"{name:22} first {losses[0]:.3f}, 1 to 10 {losses[:10].mean():.3f}, last ten {losses[-10:].mean():.3f}")


if __name__ == "__main__":
    run_app(app)
