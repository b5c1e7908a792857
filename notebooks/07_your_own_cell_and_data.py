# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Can a cell that I write in ten lines, on data of mine, have all that the built-in ones have?
#
# We write a cell, make a small data set, train with an optimizer of our own, stop and go on to the last bit, predict,
# look into the cell's gate, and let the same cell write a text.

# %%
import importlib
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxrnn
from jaxrnn import inspect
from jaxrnn.devices import use_compile_cache
from jaxrnn.inspect import STYLES, Figure
from jaxrnn.storage import to_leaves
from jaxrnn.terminal import Progress

SEED, HIDDEN = 0, 16
folder = Path(tempfile.mkdtemp())
quiet = Progress(quiet=True)
use_compile_cache()  # what was compiled once is not compiled again

# %% [markdown]
# ## The data
#
# A sensor is read all the time, but only what it shows while a lamp is on counts. The lamp goes on a few times in a
# sequence; whether the last reading under the lamp was low, middle or high is asked for at the end. Sequences have 8 to
# 30 steps of two features: the reading and the lamp. `Arrays.from_sequences` fills them up and keeps their lengths.


# %%
def make(count, rng):
    sequences, classes = [], []
    for length in rng.integers(8, 31, count):
        reading = rng.uniform(-1, 1, length)
        lamp = np.zeros(length)
        lamp[rng.choice(length, rng.integers(1, 4), replace=False)] = 1
        last = reading[np.flatnonzero(lamp)[-1]]
        sequences.append(np.stack([reading, lamp], axis=1).astype(np.float32))
        classes.append(int(np.digitize(last, [-1 / 3, 1 / 3])))
    return sequences, np.array(classes)


rng = np.random.default_rng(SEED)
train = jaxrnn.Arrays.from_sequences(*make(1600, rng), batch_size=64)
sequences, truth = make(400, rng)
held_out = jaxrnn.Arrays.from_sequences(sequences, truth, batch_size=64)
for row in range(2):
    length = held_out.lengths[row]
    shown = (f"[{r:+.1f}]" if lamp else f"{r:+.1f}" for r, lamp in held_out.inputs[row, :length])
    print(f"class {truth[row]}:", *shown)

# %% [markdown]
# ## The cell
#
# The minimal gated cell: one gate f, which says how much of the state is kept.
#
#     f_t = sigmoid(x_t W_x,f + b_f + h_{t-1} W_h,f)
#     n_t = tanh(x_t W_x,n + b_n + f_t * (h_{t-1} W_h,n))
#     h_t = f_t * h_{t-1} + (1 - f_t) * n_t
#
# A cell is two products, which `Cell` makes, and an `update` without any: p is x W_x + b and r is h W_h, one block of H
# features a gate. There is no gradient to write. It stands in a file, as a cell of yours would, so that other programs
# can ask for it by name too.

# %%
(folder / "my_cells.py").write_text('''
"""f = sigmoid(p_f + r_f),  h <- f h + (1 - f) tanh(p_n + f r_n)      (Zhou et al., 2016)"""

import jax
import jax.numpy as jnp

import jaxrnn


class MinimalGatedCell(jaxrnn.Cell):
    def __init__(self, in_features, hidden_features, **options):
        super().__init__(in_features, hidden_features, blocks=2, **options)

    def update(self, p, r, carry, pointwise, t):
        (p_f, p_n), (r_f, r_n) = jnp.split(p, 2, axis=-1), jnp.split(r, 2, axis=-1)
        f = jax.nn.sigmoid(p_f + r_f)
        h = f * carry.h + (1 - f) * jnp.tanh(p_n + f * r_n)
        return jaxrnn.VanillaCarry(h), h

    def initial_carry(self, batch_size):
        return jaxrnn.VanillaCarry(jnp.zeros((batch_size, self.hidden_features)))
''')
sys.path.insert(0, str(folder))
MinimalGatedCell = importlib.import_module("my_cells").MinimalGatedCell


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    stack = jaxrnn.Stack([MinimalGatedCell(2, HIDDEN, kernel_init=init, rngs=rngs)])
    return jaxrnn.SequenceClassifier(2, 3, stack, kernel_init=init, rngs=rngs)


# %% [markdown]
# The formula once more, as the slow loop that everybody can read, and what the engine makes of the cell:

# %%
cell = MinimalGatedCell(2, HIDDEN, kernel_init=jax.nn.initializers.normal(0.5), rngs=nnx.Rngs(SEED))
W_x, W_h, b = (np.asarray(leaf[...], np.float64) for leaf in (cell.W_x, cell.W_h, cell.b))
xs = held_out.inputs[:4, :8].transpose(1, 0, 2)  # time first
h = np.zeros((4, HIDDEN))
for x in xs:
    (p_f, p_n), (r_f, r_n) = np.split(x @ W_x + b, 2, axis=1), np.split(h @ W_h, 2, axis=1)
    f = 1 / (1 + np.exp(-(p_f + r_f)))
    h = f * h + (1 - f) * np.tanh(p_n + f * r_n)
_, ys = jaxrnn.unroll(cell, jnp.asarray(xs), cell.initial_carry(4))
print(f"h of the first unit by the loop: {h[:, 0].round(4).tolist()}")
assert np.allclose(ys[-1], h, atol=1e-6)

# %% [markdown]
# ## Train, stop, go on
#
# Any chain of Optax trains it. `fit` with `run` keeps a run directory; the same call again goes on. Here twelve epochs
# in one go, and six and then twelve in another directory.

# %% tags=["volatile"]
BATCHES = -(-1600 // 64)
rate = optax.warmup_cosine_decay_schedule(0.0, 3e-2, 20, 12 * BATCHES)
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=1e-4))
parts = {"validation": held_out, "seed": SEED, "progress": quiet}
whole = jaxrnn.fit(model, train, optimizer, epochs=12, run=folder / "whole", **parts)
jaxrnn.fit(model, train, optimizer, epochs=6, run=folder / "halves", **parts)
halves = jaxrnn.fit(model, train, optimizer, epochs=12, run=folder / "halves", **parts)
scores = whole.trainer.evaluate(held_out)
print(f"update {whole.update}: held out loss {scores['loss_nats']:.4f} nats, accuracy {scores['accuracy']:.4f}")

# %%
a, b = jaxrnn.open_run(folder / "whole", model), jaxrnn.open_run(folder / "halves", model)
leaves_a, leaves_b = to_leaves(a.state), to_leaves(b.state)
different = [name for name in leaves_a if not np.array_equal(leaves_a[name], leaves_b[name], equal_nan=True)]
print(f"{len(leaves_a)} arrays of state, {len(different)} differ")
assert not different

# %%
a.plot()

# %% [markdown]
# A file can only name the model, so `open_run` was given it. Without it, or with another, the run is not opened:

# %%
try:
    jaxrnn.open_run(folder / "whole").predict(held_out.inputs[:2], held_out.lengths[:2])
except jaxrnn.JaxrnnError as error:
    print(str(error).replace(str(folder), "FOLDER"))

# %% [markdown]
# ## Predict
#
# Arrays as in training, batch first, with their lengths; classes and probabilities come back.

# %% tags=["volatile"]
predicted = a.predict(held_out.inputs, held_out.lengths)
print("true  predicted  probabilities")
for row in range(6):
    shown = "  ".join(f"{p:.4f}" for p in predicted.probabilities[row])
    print(f"{truth[row]:4} {predicted.values[row]:10}  {shown}")
table = np.zeros((3, 3), int)
np.add.at(table, (truth, predicted.values), 1)
print("true class by predicted class:", table.tolist())

# %% [markdown]
# ## Look into its gate
#
# `update` returns no gate, and we wrote no line to show it. `inspect.observing` is an engine that reads the gates of
# any cell from its jaxpr: each sigmoid in it is one. Where the lamp is on the gate should shut, so that the state is
# overwritten; where it is off it should stay open, so that the state is kept.

# %% tags=["volatile"]
trained = a.model()
found = []
row = int(np.argmax((held_out.lengths >= 24) & (held_out.inputs[:, :18, 1].sum(axis=1) == 3)))
length = int(held_out.lengths[row])
xs = jnp.asarray(held_out.inputs).transpose(1, 0, 2)  # time first
trained(xs, trained.initial_carry(xs.shape[1]), engine=inspect.observing(found))
((gates, carry),) = found
f = np.asarray(gates["gate 1"])  # (T, B, H)
lamp = held_out.inputs[:, :, 1].T > 0
real = np.arange(len(lamp))[:, None] < held_out.lengths[None, :]
print("gates:", ", ".join(gates), "  carry:", ", ".join(carry))
under, else_ = f[lamp & real].mean(axis=0), f[~lamp & real].mean(axis=0)
print(f"mean of f under the lamp {under.mean():.4f}, else {else_.mean():.4f}")
weight = np.linalg.norm(np.asarray(trained.W_y[...]), axis=1)
for unit in np.argsort(-weight)[:4]:
    print(f"unit {unit:2}, output weights {weight[unit]:.4f}: under the lamp {under[unit]:.4f}, else {else_[unit]:.4f}")


# %%
def draw_gate():
    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    signal, gate = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    steps = np.arange(length)
    reading = held_out.inputs[row, :length, 0]
    on = lamp[:length, row]
    signal.plot(steps, reading, "o-", color="0.5", linewidth=0.8, markersize=4, label="reading")
    signal.plot(steps[on], reading[on], "s", color=STYLES[1][0], markersize=8, label="under the lamp")
    signal.set_ylabel("reading")
    signal.legend(frameon=False, loc="lower center", ncols=2, bbox_to_anchor=(0.5, 1.0))
    order = np.argsort(under - else_)  # the units that shut most under the lamp above
    image = gate.imshow(
        f[:length, row, order].T, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    gate.set(xlabel="step", ylabel="unit, those above shut most")
    gate.set_yticks(range(HIDDEN), order, fontsize=7)
    figure.colorbar(image, ax=gate, label="gate f (0 overwrites, 1 keeps)")
    figure.suptitle(f"The gate of our cell on one sequence of {length} steps")
    return figure


draw_gate()

# %% [markdown]
# ## The same cell in a language model
#
# Settings may name it too, as the command line does with `--cell my_cells:MinimalGatedCell`; a program is told once
# that the name is to be trusted, since no file may bring code. All of `jaxrnn.inspect` reads such a model like any
# other.

# %% tags=["volatile"]
CELL = "my_cells:MinimalGatedCell"
jaxrnn.use_cell(CELL)
settings = jaxrnn.TrainConfig(
    text="python-reference", cell=CELL, hidden=64, bptt_length=32, batch_size=32, optimizer="adam", learning_rate=5e-3,
    init="glorot-uniform", loss_reduction="mean", updates=300, sample_every=0, seed=SEED,
)  # fmt: skip
jaxrnn.train(settings, folder / "text", quiet)
text = jaxrnn.open_run(folder / "text")
page = "The value of the expression is used to find the name of the class. " * 3
(layer,) = inspect.summarise_layers(text.model(), text.vocabulary.encode(page))
for name, of in layer.gates.items():
    print(f"{name}: mean {of.mean.mean():.4f}, open {of.high.mean():.4f} of the time, shut {of.low.mean():.4f}")
print("it writes:", repr(text.sample(length=80, temperature=0.8, prime="The value of ", seed=SEED)))

# %% [markdown]
# ## Answer
#
# Yes. Ten lines without a gradient are trained by every engine, with any optimizer; the run goes on to the last bit,
# and predicts, tells its gates and writes as those with built-in cells do. And the gate does what it should: it is shut
# under the lamp and open otherwise.
