# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does a run that was stopped and resumed end where it would have ended?
#
# We train a small vanilla RNN on the Python language reference, once in one go and once stopped half-way and resumed,
# and compare the two to the last bit. On the way we look at what a run directory holds: settings, metrics, samples,
# checkpoints, and the model itself.

# %%
import tempfile
from pathlib import Path

import numpy as np

import jaxrnn
from jaxrnn.storage import to_leaves
from jaxrnn.terminal import Progress

SEED = 0
folder = Path(tempfile.mkdtemp())
quiet = Progress(quiet=True)

# %% [markdown]
# ## Train in one go
#
# The settings are those of the book reports: windows of 25 characters, AdaGrad at 0.1, gradients clipped to [-5, 5],
# the carry passed from window to window. (The warning: parameters with the lowest smoothed loss may work on the carry
# of training only, so the best ones are chosen by how they score from fresh starts.)

# %% tags=["volatile"]
settings = dict(text="python-reference", hidden=64, seed=SEED, sample_every=2000, checkpoint_every="1000")
whole = jaxrnn.train(jaxrnn.TrainConfig(**settings, updates=4000), folder / "whole", quiet)
print(f"update {whole.update}, stopped: {whole.stopped}")

# %% [markdown]
# ## Train half, then resume
#
# `resume` reads everything from the directory and the latest checkpoint: parameters, AdaGrad's sums, the carry, the
# position in the text, the random key, the smoothed loss, the best parameters so far.

# %% tags=["volatile"]
jaxrnn.train(jaxrnn.TrainConfig(**settings, updates=2000), folder / "halves", quiet)
halves = jaxrnn.resume(folder / "halves", {"updates": 4000}, quiet)
print(f"update {halves.update}, stopped: {halves.stopped}")

# %% [markdown]
# ## Compare, bit for bit

# %%
a, b = jaxrnn.open_run(folder / "whole"), jaxrnn.open_run(folder / "halves")
leaves_a, leaves_b = to_leaves(a.state), to_leaves(b.state)
different = [name for name in leaves_a if not np.array_equal(leaves_a[name], leaves_b[name], equal_nan=True)]
print(f"{len(leaves_a)} arrays of state, {len(different)} differ")
same_losses = np.array_equal(a.metrics["train/loss_nats"], b.metrics["train/loss_nats"])
print(f"{len(a.metrics['update'])} logged losses each, equal: {same_losses}")
assert not different and same_losses

# %% [markdown]
# ## What the model learned
#
# The left axis is the reports' unit, the loss summed over the 25 characters of a window; it starts at 25 ln K.

# %% tags=["volatile"]
print(a.record["parameters"], "parameters,", a.windows_per_epoch, "updates an epoch")

# %%
a.plot()

# %% [markdown]
# The same seed writes the same text. A low temperature keeps to what the model is sure of.

# %% tags=["volatile"]
for temperature in (0.5, 1.0):
    print(f"--- temperature {temperature}\n{a.sample(length=200, temperature=temperature, prime='The ', seed=SEED)}\n")

# %% [markdown]
# A model is a Flax module; its parameters are ordinary arrays. The obvious way to score a text, one symbol after the
# other, gives what `evaluate` gives.

# %% tags=["volatile"]
model = a.model()
text = "The value of the expression is "
ids = a.vocabulary.encode(text)
carry, losses = model.initial_carry(1), []
for now, following in zip(ids[:-1], ids[1:], strict=True):
    logits, carry = model(np.array([[now]]), carry)
    logits = np.asarray(logits[0, 0], np.float64)
    losses.append(np.log(np.exp(logits).sum()) - logits[following])
(folder / "sentence.txt").write_text(text)
scores = a.evaluate(str(folder / "sentence.txt"))
print(f"step by step {np.mean(losses):.5f} nats, evaluate {scores['loss_nats']:.5f} nats a character")
assert np.isclose(np.mean(losses), scores["loss_nats"], rtol=1e-5)

# %% [markdown]
# ## Answer
#
# Yes: all arrays of the state, every logged loss and every sample are equal, to the last bit.

# %%
assert (folder / "whole/samples.txt").read_bytes() == (folder / "halves/samples.txt").read_bytes()
print("samples.txt: equal bytes")
