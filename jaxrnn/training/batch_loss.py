"""What one update minimizes, and whether its gradient can be used."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.devices.mesh import BATCH_AXIS
from jaxrnn.tasks.protocol import Batch


def batch_loss(
    task: Any, model: Any, carry: Any, batch: Batch, reduction: str, accuracy: bool, shared: bool, **options: Any
) -> tuple[jax.Array, tuple[jax.Array, Any, jax.Array | None]]:
    """The loss of one batch, with (mean loss, carry after it, accuracy) beside it.

        l = sum w_kb l_kb / sum w_kb          over the scored steps k of all rows b; w = 1 without weights

    Args:
      task: the objective.
      model: called as `(inputs, carry, **options)`.
      carry: before the first step.
      batch: of the task.
      reduction: "mean" for l, or "sum" for K l, with K scored steps a row.
      accuracy: whether the share of right answers is measured; None if not.
      shared: whether other devices have rows of the same batch.
      options: of the model's call.
    """
    outputs, carry = model(batch.inputs, carry, **options)

    def mean(values: jax.Array, weights: jax.Array | None) -> jax.Array:
        if weights is None:
            return values.mean(dtype=outputs.dtype)
        total = weights.sum()
        if shared:  # of all devices, since the mean of their means is to be that of all rows
            total = jax.lax.pmean(total, BATCH_AXIS)
        return (values * weights).sum() / jnp.maximum(total, jnp.finfo(total.dtype).tiny)

    losses = task.losses(outputs, batch.targets)
    loss, share = mean(losses, batch.weights), None
    if accuracy:
        counted = None if batch.weights is None else (batch.weights > 0).astype(outputs.dtype)
        share = mean(task.correct(outputs, batch.targets), counted)
    return loss * losses.shape[0] if reduction == "sum" else loss, (loss, carry, share)


def all_finite(tree: Any) -> jax.Array:
    """Whether every number of a tree is finite, and the sum of each column too.

    The columns are summed as a product with ones, which runs vectorised where XLA's reduction on a CPU does not.
    """

    def column_sums(leaf: jax.Array) -> jax.Array:
        rows = leaf.reshape(-1, leaf.shape[-1]) if leaf.ndim else leaf.reshape(1, 1)
        return jnp.ones((rows.shape[0],), rows.dtype) @ rows

    return jnp.isfinite(jnp.concatenate([column_sums(leaf) for leaf in jax.tree.leaves(tree)])).all()
