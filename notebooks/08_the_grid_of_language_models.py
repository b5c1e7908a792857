# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # At equal cost, is a deeper network better, an LSTM or a GRU, and how much of it is chance?
#
# A thesis trained some 700 character models, after Karpathy, Johnson and Li (KJL): LSTM and GRU, one to three layers,
# four sizes, several rates. Here are the tables and pictures of the part that we trained on War and Peace, from the
# committed results, and then a tiny grid that is trained here, by the same code. That code is
# `experiments/language_model_grid`, which lies beside this folder in a copy of the repository.

# %%
import contextlib
import csv
import io
import sys
import tempfile
from pathlib import Path

import numpy as np

from jaxrnn import inspect
from jaxrnn.models import hidden_size_for, model_parameters

sys.path += ["..", ".", str(Path(inspect.__file__).parents[2])]  # where experiments/ is, seen from here

import experiments
from experiments.language_model_grid import drawings
from experiments.language_model_grid.figures import draw_all, read_grids
from experiments.language_model_grid.members import Recipe, member_rows, size_table
from experiments.language_model_grid.results import best_by_validation, thesis_table
from experiments.language_model_grid.run import Grid

RESULTS = Path(experiments.__file__).parent / "results"

# %% [markdown]
# ## Equal cost
#
# "Size S" is the number of parameters of an LSTM of one layer and S units, with V symbols:
#
#     4 S (V + S + 1)     W_x, W_h and b of the four blocks        S V + V     W_y and b_y
#
# Every other cell and depth gets the hidden size whose total is nearest to that. For War and Peace, V = 83:

# %%
V = 83
for S in (64, 128):
    assert model_parameters("lstm", 1, S, V) == 4 * S * (V + S + 1) + S * V + V
by_scan = min(range(1, 200), key=lambda H: abs(model_parameters("gru", 3, H, V) - model_parameters("lstm", 1, 64, V)))
assert by_scan == hidden_size_for("gru", 3, 64, V, True)
print(size_table(V))

# %% [markdown]
# ## What was obtained
#
# Each row of the file is a model: its settings, and its losses in nats a character. Of each cell, depth and size the
# one with the lowest validation loss counts, and its test loss is what is told; the test data chooses nothing. The
# numbers of the thesis (at the same rate) and of KJL, as the thesis quotes them, stand beside it; a (?) marks what it
# probably misprints.

# %%
NUMBERS = {
    name: int for name in ("layers", "size", "hidden", "seed", "fold", "parameters", "epochs", "best_epoch", "skipped")
} | {name: float for name in ("learning_rate", "dropout_rate", "seconds")}


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                name: value == "True"
                if name == "retrained"
                else NUMBERS.get(name, float if name.endswith("_nats") else str)(value)
                for name, value in row.items()
            }
            for row in csv.DictReader(file)
        ]


rows = read(RESULTS / "language_model_grid_warpeace.csv")
by_hand = {}
for row in rows:
    key = (row["text"], row["cell"], row["layers"], row["size"])
    if key not in by_hand or row["valid_loss_nats"] < by_hand[key]["valid_loss_nats"]:
        by_hand[key] = row
assert by_hand == best_by_validation(rows)
print(f"{len(rows)} models; the best of {len(by_hand)} structures:\n")
print(thesis_table(rows))

# %% [markdown]
# The same as pictures: depth along the axis, a panel a cell, without the LSTMs with peepholes, of which there is one
# layer. One and two layers of size 64 had three rates and three seeds each, and so had one layer of size 128; all
# others had one of each. Three layers of size 128 were not trained.

# %%
plain = [row for row in rows if row["cell"] in ("lstm", "gru-reset-before")]
drawings.loss_by_depth([row for row in plain if row["size"] == 64])

# %%
drawings.loss_by_depth([row for row in plain if row["size"] == 128])

# %% [markdown]
# How much of such a difference is chance? Three seeds of the smallest LSTM, with everything else equal:

# %%
same = [row for row in rows if (row["cell"], row["layers"], row["size"]) == ("lstm", 1, 64)]
same = [row for row in same if row["learning_rate"] == 2 * 10**-2.5]
tests = np.array([row["test_loss_nats"] for row in same])
print("test losses", tests.round(4).tolist(), f"mean {tests.mean():.4f}, standard deviation {tests.std(ddof=1):.4f}")
best = {key[1:]: row["test_loss_nats"] for key, row in best_by_validation(rows).items()}
for size in (64, 128):
    lstm, gru = (
        min(loss for (c, _, s), loss in best.items() if c.startswith(cell) and s == size) for cell in ("lstm", "gru")
    )
    print(f"size {size}: the best LSTM {lstm:.4f}, the best GRU {gru:.4f}, ahead by {lstm - gru:.4f} nats")

# %% [markdown]
# Test minus validation is small on a novel. On source code in order, the last modules are unlike the first, and it says
# more about the split than about the networks:

# %%
code = read(RESULTS / "language_model_grid_python_stdlib.csv")
print(thesis_table(code))

# %%
drawings.validation_gap(plain)

# %% [markdown]
# ## A tiny grid, trained here
#
# The same command as the large one's, in Python: `Recipe` is what all share, `member_rows` the combinations, and `Grid`
# the directory. Members of one structure are one compiled program; the same call again would go on after a kill. An
# LSTM of one layer at three rates with two seeds each, and a GRU of two layers with two rates of dropout, on the
# first 60,000 characters of the language reference of Python.

# %% tags=["volatile"]
recipe = Recipe("python-reference", characters=60_000, epochs=6, batch_size=20, bptt_length=25)
grid = Grid(Path(tempfile.mkdtemp()), recipe, devices=1, sample_length=0)
rates = [2e-3, 2 * 10**-2.5, 2 * 10**-2.2]
wanted = member_rows(recipe, ["lstm"], [1], [16], rates, [0.0], ["between"], [0, 1])
wanted += member_rows(recipe, ["gru-reset-before"], [2], [16], rates[1:2], [0.05, 0.2], ["between"], [0])
with contextlib.redirect_stdout(io.StringIO()) as told:
    grid.train(wanted)
data = read_grids([grid.directory])
print(f"{len(data.rows)} models of {len(best_by_validation(data.rows))} structures")
print(thesis_table(data.rows))

# %% [markdown]
# What `python -m experiments.language_model_grid figures` would draw of it, and what it leaves out for lack of data:

# %% tags=["volatile"]
for line in draw_all(data, grid.directory / "figures"):
    print(line.replace(str(grid.directory / "figures"), "").replace("drew /", "drew "))

# %%
drawings.loss_by_epoch(
    data, text=data.rows[0]["text"], cell="gru-reset-before", layers=2, size=16, learning_rate=rates[1]
)

# %%
drawings.seeds(data.rows)

# %% [markdown]
# ## Answer
#
# - **Deeper?** A second layer of equal cost makes the LSTM of size 64 better at each of three rates, three seeds each,
#   by 0.02 to 0.03; the GRU gains 0.01 at the two smaller rates and nothing at the best. A third makes the LSTM worse
#   by 0.04 (one seed). The rate matters more: twice the rate gains each of these networks 0.02 to 0.03. Of size 128 it
#   gains one layer 0.01 at most, and two layers, one seed, are better by 0.02 as LSTM and no better as GRU.
# - **LSTM or GRU?** The GRU, without biases and with its reset before the product, is ahead at equal cost, three seeds
#   each: by 0.03 to 0.13 nats at size 64, of one and two layers at three rates; by 0.05 to 0.09 at size 128, of one
#   layer at three rates.
# - **Chance?** Three seeds of one network differ by 0.01 to 0.03 at size 64, by less than 0.01 at size 128 but for the
#   LSTM at the smallest rate, 0.02. A difference of that size in such a table says nothing by itself, and of three
#   layers, and of two of size 128, there is one seed.
# - **Peepholes?** Diagonal ones make one layer no better. Full ones, as the thesis prints its LSTM, do not train.
