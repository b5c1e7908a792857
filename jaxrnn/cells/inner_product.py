"""Products that a cell makes inside its update, and the limit of a gradient that flows back through a product."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import DEFAULT_KERNEL_INIT, Initializer, recurrent_matrix


@jax.custom_vjp
def clip_cotangent(x: jax.Array, limit: jax.Array) -> jax.Array:
    """x itself; in the backward pass each entry of its gradient is clipped to [-limit, limit]."""
    return x


def _clip_forward(x, limit):
    return x, limit


def _clip_backward(limit, d_x):
    return jnp.clip(d_x, -limit, limit), jnp.zeros_like(limit)


clip_cotangent.defvjp(_clip_forward, _clip_backward)


class InnerProduct(NamedTuple):
    """A matrix that `update` multiplies by, as `Cell.pointwise` returns it.

    The engine fills in what the step's own products have too, so that dropout of h and `clip_backward` reach this one.

    Attributes:
      weights: (H, G).
      mask: factor of h_{t-1} in recurrent products, (B, H); None where nothing is dropped.
      limit: of each entry of the gradient of the product, a scalar; None where nothing is clipped.
    """

    weights: jax.Array
    mask: jax.Array | None = None
    limit: jax.Array | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        """x W, (B, G), of x that is not h_{t-1}, or has gone through a masked product already."""
        product = x @ self.weights
        return product if self.limit is None else clip_cotangent(product, self.limit)

    def of_hidden(self, h: jax.Array) -> jax.Array:
        """(mask * h) W, (B, G), of h_{t-1} or an elementwise multiple of it."""
        return self(h if self.mask is None else h * self.mask)


def inner_matrix(
    hidden_features: int,
    blocks: int,
    *,
    kernel_init: Initializer = DEFAULT_KERNEL_INIT,
    recurrent_init: Initializer | None = None,
    param_dtype: Any = jnp.float32,
    rngs: nnx.Rngs,
    **_: Any,
) -> nnx.Param:
    """The matrix of an `InnerProduct`, (H, blocks * H), drawn as W_h is; takes the options of `Cell`."""
    drawn_by = dict(kernel_init=kernel_init, recurrent_init=recurrent_init, param_dtype=param_dtype, rngs=rngs)
    return nnx.Param(recurrent_matrix(hidden_features, blocks, **drawn_by))


def is_inner_product(node: Any) -> bool:
    """Whether a node of a tree is an `InnerProduct`."""
    return isinstance(node, InnerProduct)


def filled_in(pointwise: Any, mask: jax.Array | None, limit: jax.Array | None) -> Any:
    """What a cell's `pointwise` returned, with the mask and the limit in each `InnerProduct`."""

    def fill(node: Any) -> Any:
        return node._replace(mask=mask, limit=limit) if is_inner_product(node) else node

    return jax.tree.map(fill, pointwise, is_leaf=is_inner_product)
