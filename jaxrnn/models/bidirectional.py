"""A layer that reads a sequence from both ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import Carry
from jaxrnn.models.foreign_cells import check_cell, fresh_carry


class BidirectionalCarry(NamedTuple):
    """The carries of both directions; the backward one enters at a sequence's last step and leaves at its first."""

    forward: Carry
    backward: Carry


class Bidirectional(nnx.Module):
    r"""Two cells side by side, a layer of `Stack`: one reads forward in time, the other backward.

        f_t = forward(x_t, f_{t-1})          b_t = backward(x_t, b_{t+1})          y_t = [f_t, b_t]

    With lengths each sequence is read backward from its own last step.

    Args:
      forward, backward: cells with equally many input features, each with weights of its own.

    Raises:
      ValueError: if one is no cell, or their inputs differ.

    Example:
      >>> from jaxrnn.cells import GRUCell
      >>> from jaxrnn.models.stack import Stack
      >>> rngs = nnx.Rngs(0)
      >>> stack = Stack([Bidirectional(GRUCell(3, 4, rngs=rngs), GRUCell(3, 4, rngs=rngs)), GRUCell(8, 5, rngs=rngs)])
      >>> ys, carries = stack(jnp.zeros((6, 2, 3)), stack.initial_carry(2), lengths=jnp.asarray([6, 4]))
      >>> ys.shape, carries[0].backward.h.shape
      ((6, 2, 5), (2, 4))

    References: Schuster and Paliwal, Bidirectional recurrent neural networks, 1997.
    """

    def __init__(self, forward: Any, backward: Any):
        check_cell(forward, "a forward one")
        check_cell(backward, "a backward one")
        if forward.in_features != backward.in_features:
            raise ValueError(
                f"Bidirectional expects cells that read the same input; got in_features={forward.in_features} and "
                f"{backward.in_features}"
            )
        self.in_features = forward.in_features
        self.hidden_features = forward.hidden_features + backward.hidden_features  # what the next layer sees
        self.forward, self.backward = forward, backward

    def initial_carry(self, batch_size: int) -> BidirectionalCarry:
        """The carries of a fresh start."""
        return BidirectionalCarry(fresh_carry(self.forward, batch_size), fresh_carry(self.backward, batch_size))


def backward_features(layer: Any) -> list[bool]:
    """Of each feature that a layer gives, whether it was read backward in time."""
    forward = layer.forward.hidden_features if isinstance(layer, Bidirectional) else layer.hidden_features
    return [number >= forward for number in range(layer.hidden_features)]


def reverse_steps(xs: Any, lengths: jax.Array | None) -> Any:
    """A tree of arrays (T, B, ...) with their steps in reverse; with lengths (B,) padding stays at the end."""

    def reverse(x: jax.Array) -> jax.Array:
        if lengths is None:
            return x[::-1]
        t, ends = jnp.arange(len(x), dtype=jnp.int32)[:, None], jnp.minimum(lengths.astype(jnp.int32), len(x))[None, :]
        steps = jnp.where(t < ends, ends - 1 - t, t)
        return jnp.take_along_axis(x, steps.reshape(*steps.shape, *[1] * (x.ndim - 2)), axis=0)

    return jax.tree.map(reverse, xs)
