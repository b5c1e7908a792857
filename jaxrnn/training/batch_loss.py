"""What one update minimizes, whether its gradient can be used, and how large it is layer by layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxrnn.devices.mesh import BATCH_AXIS
from jaxrnn.engines.output import WITH_OUTPUT, output_loss, why_not_output
from jaxrnn.engines.platforms import members_at_once, platform
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.tasks.protocol import Batch


def batch_loss(
    task: Any, model: Any, carry: Any, batch: Batch, reduction: str, accuracy: bool, shared: bool, **options: Any
) -> tuple[jax.Array, tuple[jax.Array, Any, jax.Array | None, Any]]:
    """The loss of one batch, with (mean loss, carry after it, accuracy, weights) beside it.

        l = sum w_kb l_kb / sum w_kb          over the scored steps k of all rows b; w = 1 without weights

    Args:
      task: the objective.
      model: called as `(inputs, carry, **options)`.
      carry: before the first step.
      batch: of the task.
      reduction: "mean" for l, or "sum" for K l, with K scored steps a row.
      accuracy: whether the share of right answers is measured; None if not.
      shared: whether other devices have rows of the same batch. Where weights make the mean, it is then still to be
        divided by the mean of all devices' weights, of loss and accuracy, which are given: one exchange does for all.
        With a limit in the backward loop they are exchanged before.
      options: of the model's call.
    """
    if options.get("engine") == WITH_OUTPUT:
        return _by_output_kernel(task, model, carry, batch, reduction, accuracy or shared, **options)
    outputs, carry = model(batch.inputs, carry, **options)

    def mean(values: jax.Array, weights: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
        if weights is None:
            return values.mean(dtype=outputs.dtype), None
        total = weights.sum()
        if shared and options.get("clip_backward") is None:
            return (values * weights).sum() / values.size, total / values.size
        if shared:  # of all devices, since the mean of their means is to be that of all rows
            total = jax.lax.pmean(total, BATCH_AXIS)
        return divided((values * weights).sum(), total), None

    losses = task.losses(outputs, batch.targets)
    (loss, total), (share, counted) = mean(losses, batch.weights), (None, None)
    if accuracy:
        weights = None if batch.weights is None else (batch.weights > 0).astype(outputs.dtype)
        share, counted = mean(task.correct(outputs, batch.targets), weights)
    return loss * losses.shape[0] if reduction == "sum" else loss, (loss, carry, share, (total, counted))


def _by_output_kernel(
    task: Any, model: Any, carry: Any, batch: Batch, reduction: str, more: bool, **options: Any
) -> tuple[jax.Array, tuple[jax.Array, Any, None, Any]]:
    why: str | None = "it is for the mean loss of a language model on one device, where no accuracy is measured"
    is_known = isinstance(model, LanguageModel) and getattr(task, "loss_name", "") == "loss_nats"
    if is_known and batch.weights is None and not more:
        why = "several members at once have no such kernel" if members_at_once() else why_not_output(model.output[0])
    if why is not None:
        raise ConfigurationError(f"the engine {WITH_OUTPUT!r} cannot train this: {why}; use 'resident'")
    h, carry = model.hidden(batch.inputs, carry, **options)
    steps, rows = batch.targets.shape
    factor = steps if reduction == "sum" else 1
    flat = h.reshape(-1, h.shape[-1]), *model.output, batch.targets.reshape(-1)
    loss = output_loss(*flat, factor / (steps * rows))
    return loss, (loss / factor, carry, None, (None, None))


def divided(tree: Any, total: jax.Array | None) -> Any:
    """A tree of sums by their weights; 0 where there are none. None is a tree that is a mean already."""
    if total is None:
        return tree
    return jax.tree.map(lambda leaf: leaf / jnp.maximum(total, jnp.finfo(total.dtype).tiny), tree)


def written_as_one(gradients: Any) -> Any:
    """The gradients as they are; where kernels count, and they are few numbers of one dtype, written by one kernel."""
    leaves = jax.tree.leaves(gradients)
    if len({leaf.dtype for leaf in leaves}) > 1 or sum(leaf.size for leaf in leaves) > platform().largest_gradient:
        return gradients
    numbers, tree_of = ravel_pytree(gradients)
    return tree_of(jax.lax.optimization_barrier(numbers))


def all_finite(tree: Any) -> jax.Array:
    """Whether every number of a tree is finite, and on a CPU the sum of each column too.

    The columns are summed as a product with ones, which runs vectorised where XLA's reduction on a CPU does not. Where
    kernels count the numbers of all leaves are looked at as one array.
    """

    def column_sums(leaf: jax.Array) -> jax.Array:
        rows = leaf.reshape(-1, leaf.shape[-1]) if leaf.ndim else leaf.reshape(1, 1)
        return jnp.ones((rows.shape[0],), rows.dtype) @ rows

    if platform().counts_kernels:
        return jnp.isfinite(jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])).all()
    return jnp.isfinite(jnp.concatenate([column_sums(leaf) for leaf in jax.tree.leaves(tree)])).all()


def norms_by_layer(gradients: Any, params: Any, steps: Any) -> dict[str, jax.Array]:
    """The L2 norms of the gradient before clipping, of the parameters before the update, and of what is added to them.

    Named "gradient/stack.layers.0", "parameters/...", "step/...": a layer is what holds parameters in the model; those
    beside all layers, such as W_y, are one each. Of an update that is left out the gradient's are not finite, or its
    loss was not.
    """
    norms: dict[str, jax.Array] = {}
    for what, tree in (("gradient", gradients), ("parameters", params), ("step", steps)):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            name = f"{what}/{jax.tree_util.keystr(path[:-1] or path, simple=True, separator='.')}"
            norms[name] = jnp.hypot(norms.get(name, 0), jnp.linalg.norm(leaf.reshape(-1)))
    return norms
