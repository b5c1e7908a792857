"""The grid of character language models of the thesis after Karpathy, Johnson and Li (2015), as one command.

    python -m experiments.language_model_grid --text warpeace --cells lstm-peephole gru-reset-before --layers 1 2 3
        --sizes 64 128 256 512 --learning-rates 0.0126191 0.0063246 0.002 --dropout-rates 0 0.1 0.2 --run DIR
    python -m experiments.language_model_grid sizes      the hidden sizes of equal cost
    python -m experiments.language_model_grid figures DIR --output FIGURES

The same command goes on after a kill; more cells, rates or seeds add to the same directory. Published numbers stand
beside ours in DIR/table.md; what was obtained, with command, device and date, in experiments/README.md.

Deviations from the thesis: no gradient clipping inside the loop, forget bias 1, eps outside RMSprop's root, decay 0.95;
validation and test data are read in as many streams as training data, each after a window of the text before it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from experiments.language_model_grid.members import Recipe, member_rows, size_table
from experiments.language_model_grid.results import thesis_table
from jaxrnn.checks import parse_devices
from jaxrnn.devices import ALONE, Hosts, cores, is_writer, use_compile_cache
from jaxrnn.storage import read_json
from jaxrnn.terminal import EXIT_OF_STOP, run_app, write_output
from jaxrnn.training import read_rows

COST = """Language models of equal cost.

A member of size 64 on War and Peace takes 3 to 20 minutes of two cores, one of size 128 20 to 50. The whole grid of the
thesis, two texts with about 350 members each, took two weeks a text on four Titan X. So begin with one size, one layer
and one seed: more values of anything add to the same directory, and what is done is not trained again.
"""
app = cyclopts.App(name="python -m experiments.language_model_grid", help=COST, version_flags=[])
Words = Annotated[list[str], Parameter(consume_multiple=True)]
Counts = Annotated[list[int], Parameter(consume_multiple=True)]
Rates = Annotated[list[float], Parameter(consume_multiple=True)]
RATE = 2 * 10**-2.5


@app.default
def grid(
    *,
    run: Path,
    text: str = "warpeace",
    characters: int | None = None,
    cells: Words = ["lstm-peephole", "gru-reset-before"],  # noqa: B006
    layers: Counts = [1],  # noqa: B006
    sizes: Counts = [64],  # noqa: B006
    learning_rates: Rates = [RATE],  # noqa: B006
    dropout_rates: Rates = [0.0],  # noqa: B006
    dropout_sites: Words = ["between"],  # noqa: B006
    seeds: Counts = [0],  # noqa: B006
    folds: int = 1,
    epochs: int = 50,
    batch_size: int = 100,
    bptt_length: int = 100,
    split: Rates = [0.8, 0.1, 0.1],  # noqa: B006
    early_stopping: str = "none",
    patience: int = 5,
    halving: bool = False,
    retrain: bool = False,
    sample_length: int = 200,
    devices: str = "auto",
    tensorboard: bool = False,
    hosts: Annotated[Hosts, Parameter(name="*")] = ALONE,
) -> int:
    """Train every combination, members of one structure as one compiled program, and tabulate them.

    Args:
      run: directory of the grid; the same one again goes on.
      text: a file or a known text, such as warpeace, linux or python-stdlib.
      characters: only so many from the text's beginning.
      cells: cells by name.
      layers: depths.
      sizes: model sizes: the hidden units of the LSTM of one layer with as many parameters.
      learning_rates: of RMSprop, at first.
      dropout_rates: probabilities of zeroing.
      dropout_sites: where: between, output, input, recurrent. Without a site in a network its rate is 0.
      seeds: seeds.
      folds: parts of the text that are test data in turn.
      epochs: passes over the training data, at most.
      batch_size: B.
      bptt_length: T.
      split: shares of training, validation and test data, in the text's order.
      early_stopping: none, patience or relative-decrease, the thesis's rule.
      patience: epochs without a new lowest validation loss before patience stops.
      halving: stop the worse half after epochs 2, 4, 8, ...
      retrain: train the best of each structure on training and validation data as well, for its best number of epochs.
      sample_length: characters of a sample after each epoch, at temperature 1; 0 writes none.
      devices: auto or a number, of all processes together; fixed at a grid's start. A member that is a program by
        itself takes as many of them as can share its batch evenly.
      tensorboard: write logs of every member for TensorBoard.
    """
    recipe = Recipe(
        text, characters, epochs, batch_size, bptt_length, tuple(split), folds, early_stopping, patience, halving
    )
    begun = run / "grid.json"
    all_cores = cores() * (hosts.processes or 1)
    number = read_json(begun).get("devices") if begun.is_file() else parse_devices(devices) or all_cores
    hosts.join(int(number))
    use_compile_cache()
    from experiments.language_model_grid.run import Grid

    wanted = member_rows(recipe, cells, layers, sizes, learning_rates, dropout_rates, dropout_sites, seeds)
    started = time.monotonic()
    trained = Grid(run, recipe, int(number), sample_length, tensorboard)
    stopped = trained.train(wanted, retrain)
    if stopped:
        return EXIT_OF_STOP[stopped]
    if is_writer():
        table = thesis_table(read_rows(run), trained.is_whole)
        print(f"{table}\nthis call took {time.monotonic() - started:.0f} s; results in {run}")
    return 0


@app.command
def sizes(*, vocabulary_size: int = 83) -> int:
    """Print the hidden sizes of equal cost, with how far each is from the budget.

    Args:
      vocabulary_size: distinct characters; War and Peace has 83.
    """
    print(size_table(vocabulary_size))
    return 0


@app.command
def figures(*runs: Path, output: Path) -> int:
    """Draw what the results of one or several grids suffice for, and say what is left out and why.

    Args:
      runs: directories of grids.
      output: where the figures go.
    """
    from experiments.language_model_grid.figures import draw_all, read_grids

    write_output("".join(f"{line}\n" for line in draw_all(read_grids(runs), output)))
    return 0


if __name__ == "__main__":
    run_app(app)
