"""What an LSTM counts as parameters, and which steps the gradients of its matrices need."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.palindromes.recipe import Recipe
from jaxrnn import Sequences, Trainer
from jaxrnn.models import loss_nats, model_with
from jaxrnn.random_streams import STREAM_DATA, stream_key
from jaxrnn.training import make_job


def count_table(recipe: Recipe, length: int) -> str:
    """Parameters of each cell, counted in a model and by formula, as Markdown; d input and n hidden features."""
    formulas = {"vanilla": ("n (d + n + 1)", 1), "lstm": ("4 n (d + n + 1)", 4)}
    lines = ["| cell | d | n | counted, without the projection | formula | |", "|" + "---|" * 6]
    for cell, (formula, blocks) in formulas.items():
        trainer = Trainer.of([make_job(recipe.settings(cell, length, seed=0))])
        counted = sum(leaf.size for leaf in jax.tree.leaves(trainer.template.params["stack"]))
        d, n = trainer.settings.objective.in_features, recipe.hidden
        lines.append(f"| {cell} | {d} | {n} | {counted:,} | {formula} | {blocks * n * (d + n + 1):,} |")
    return "\n".join(lines)


def gradient_through_each_step(recipe: Recipe, cell: str, length: int) -> dict[str, Any]:
    r"""The gradients of the loss of an untrained network, split into what each step gives to them.

    Each step gets its own copy of W_h and of W_y:

        dL/dW_h = sum_t dL/dW_h(t)     h_t = f(x_t, h_{t-1} W_h(t))
        dL/dW_y = sum_t dL/dW_y(t)     logits_t = h_t W_y(t) + b_y, of which the loss reads the last

    Returns:
      `W_h` and `W_y`, (T,) each: the norms of the copies' gradients. `error`: the largest difference of their sums from
      the gradients of the whole network, as a share of its largest entry.
    """
    trainer = Trainer.of([make_job(recipe.settings(cell, length, seed=0))])
    state, task, graphdef = trainer.initial_state(), trainer.settings.objective, trainer.graphdef
    assert isinstance(task, Sequences)
    key = stream_key(state.seed, STREAM_DATA, 0)
    inputs, targets = task.draw(key, jnp.arange(recipe.batch_size))
    if inputs.ndim == 2:
        inputs = jax.nn.one_hot(inputs, task.in_features)

    def whole(params: Any) -> jax.Array:
        model = model_with(graphdef, params)
        return loss_nats(model(inputs, model.initial_carry(recipe.batch_size))[0], targets).mean()

    def copied(W_h: jax.Array, W_y: jax.Array) -> jax.Array:
        model = model_with(graphdef, state.params)
        layer = model.stack.layers[0]

        def step(carry: Any, at: Any) -> Any:
            t, x, of_step, projection = at
            p, r = layer.products(carry, x)
            r = r + carry.h @ (of_step - layer.W_h[...])  # in place of the shared matrix
            carry, h = layer.update(p, r, carry, layer.pointwise(), t)
            return carry, h @ projection + model.b_y[...][None, :]

        carry = model.initial_carry(recipe.batch_size)[0]
        _, logits = jax.lax.scan(step, carry, (jnp.arange(length), inputs, W_h, W_y))
        return loss_nats(logits[-1:], targets).mean()

    expected = jax.jit(jax.grad(whole))(state.params)
    shared = (state.params["stack"]["layers"][0]["W_h"], state.params["W_y"])
    copies = [jnp.broadcast_to(matrix, (length, *matrix.shape)) for matrix in shared]
    found = [np.asarray(gradient, np.float64) for gradient in jax.jit(jax.grad(copied, argnums=(0, 1)))(*copies)]
    of_whole = (np.asarray(expected["stack"]["layers"][0]["W_h"]), np.asarray(expected["W_y"]))
    error = max(np.abs(f.sum(axis=0) - w).max() / np.abs(w).max() for f, w in zip(found, of_whole, strict=True))
    norms = [np.sqrt((gradient**2).sum(axis=(1, 2))) for gradient in found]
    return {"W_h": norms[0], "W_y": norms[1], "error": float(error)}


def step_table(recipe: Recipe, cells: list[str], length: int) -> str:
    """The norms of what each step gives to dL/dW_h and dL/dW_y, as Markdown."""
    found = {cell: gradient_through_each_step(recipe, cell, length) for cell in cells}
    names = [f"{cell}, dL/d{matrix}" for cell in cells for matrix in ("W_h", "W_y")]
    lines = ["| step t | " + " | ".join(names) + " |", "|" + "---|" * (1 + len(names))]
    for t in range(length):
        values = [f"{found[cell][matrix][t]:.2e}" for cell in cells for matrix in ("W_h", "W_y")]
        lines.append(f"| {t + 1} | " + " | ".join(values) + " |")
    error = max(parts["error"] for parts in found.values())
    lines.append(
        f"\nThe steps' parts add up to the gradient of the whole network, to {error:.1e} of its largest entry."
    )
    lines.append("Step 1 gives nothing to dL/dW_h, since h_0 = 0. All others do; only step T gives to dL/dW_y.")
    return "\n".join(lines)
