"""Parts of a user's, for tests of `fit`: a cell, a model with running means, arrays, and runs that are killed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxrnn
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.terminal.progress import Progress

UPDATES, CHECKPOINT_EVERY = 60, 20
# One each, since a program of another optimizer is another program.
ADAM, INJECTED = optax.adam(0.01), optax.inject_hyperparams(optax.adam)(0.1)
CLIPPED = optax.chain(optax.clip(1.0), ADAM)


class MinimalGatedCell(jaxrnn.Cell):
    """h <- f h + (1 - f) tanh(p + r f): a cell that the library does not have."""

    def __init__(self, in_features: int, hidden_features: int, **options: Any):
        super().__init__(in_features, hidden_features, blocks=2, **options)

    def update(self, p: Any, r: Any, carry: Any, pointwise: Any, t: Any) -> Any:
        (p_f, p_n), (r_f, r_n) = jnp.split(p, 2, axis=-1), jnp.split(r, 2, axis=-1)
        f = jax.nn.sigmoid(p_f + r_f)
        h = f * carry.h + (1 - f) * jnp.tanh(p_n + f * r_n)
        return jaxrnn.VanillaCarry(h), h

    def initial_carry(self, batch_size: int) -> Any:
        return jaxrnn.VanillaCarry(jnp.zeros((batch_size, self.hidden_features), self.W_h[...].dtype))


class MeanTaking(nnx.Module):
    """A classifier that counts its calls and keeps a running mean of its input: variables that are no parameters."""

    def __init__(self, features: int, classes: int, *, rngs: nnx.Rngs):
        self.cell = nnx.GRUCell(features, 4, rngs=rngs)
        self.out = nnx.Linear(4, classes, rngs=rngs)
        self.mean = nnx.BatchStat(jnp.zeros((features,)))

    def initial_carry(self, batch_size: int) -> jax.Array:
        return jnp.zeros((batch_size, 4))

    def __call__(self, xs: jax.Array, carry: jax.Array) -> tuple[jax.Array, jax.Array]:
        self.mean[...] = 0.9 * self.mean[...] + 0.1 * xs.mean(axis=(0, 1))
        carry, hs = jax.lax.scan(self.cell, carry, xs - self.mean[...][None, None, :])
        return self.out(hs), carry


def arrays(sequences: int = 37, steps: int = 6, features: int = 3) -> dict[str, np.ndarray]:
    """Sequences of which the sign of the first feature's sum, over each one's own steps, is asked for."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(sequences, steps, features)).astype(np.float32)
    lengths = rng.integers(2, steps + 1, sequences)
    sums = np.array([row[:length, 0].sum() for row, length in zip(inputs, lengths, strict=True)])
    return {"inputs": inputs, "targets": (sums > 0).astype(int), "lengths": lengths, "sums": sums.astype(np.float32)}


def array_task(**options: Any) -> jaxrnn.Arrays:
    of = arrays()
    return jaxrnn.Arrays(of["inputs"], of["targets"], **{"lengths": of["lengths"], "batch_size": 8, **options})


def own_cell(rngs: nnx.Rngs) -> jaxrnn.LanguageModel:
    return jaxrnn.LanguageModel(5, jaxrnn.Stack([MinimalGatedCell(5, 6, rngs=rngs)]), rngs=rngs)


def mean_taking(rngs: nnx.Rngs) -> MeanTaking:
    return MeanTaking(3, 2, rngs=rngs)


def fit_of(kind: str, run: Path | None, **changed: Any) -> Any:
    """A short `fit`: "cell", a user's cell on a text; "arrays", a user's model on arrays; "members", two of them."""
    options: dict[str, Any] = {"run": run, "updates": UPDATES, "log_every": 7, "checkpoint_every": CHECKPOINT_EVERY}
    options = {**options, "checkpoint_every": str(CHECKPOINT_EVERY), "progress": Progress(quiet=True), **changed}
    if kind == "cell":
        text = jaxrnn.Text(corpus_from_text("abcd dcba bad " * 20), bptt_length=5, batch_size=3)
        options = {"sample_every": 25, "sample_length": 10, **options}
        return jaxrnn.fit(own_cell, text, CLIPPED, **options)
    if kind == "members":
        options["members"] = [{"seed": 1, "learning_rate": 0.01}, {"seed": 2, "learning_rate": 0.003}]
        return jaxrnn.fit(mean_taking, array_task(), INJECTED, **options)
    options = {"validation": array_task(), **options}
    return jaxrnn.fit(mean_taking, array_task(), ADAM, **options)


if __name__ == "__main__":  # killed by itself at an update that nothing was saved at, without a warning to anybody

    def die(update: int, trainer: Any) -> None:
        signal.raise_signal(signal.SIGKILL)

    fit_of(sys.argv[1], Path(sys.argv[2]), callbacks=[([int(sys.argv[3])], die)])
