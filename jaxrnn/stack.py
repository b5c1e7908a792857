"""Layers of cells, one above the other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells import CELLS
from jaxrnn.engines import unroll


class Stack(nnx.Module):
    """Recurrent layers: the outputs of one are the inputs of the next.

    Args:
      in_features: F, or the number of symbols when the input is ids.
      hidden_features: H of every layer.
      cell: name of the cell, a key of `jaxrnn.cells.CELLS`.
      layers: how many.
      init_std: standard deviation of the starting weights.
      param_dtype: dtype of the parameters.
      rngs: keys for the starting values.

    Call: `(xs, carries)` with xs of shape (T, B) or (T, B, F) gives `(ys, carries)`, ys of shape (T, B, H).

    Raises:
      ValueError: if the cell is unknown or there is no layer.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        cell: str = "vanilla",
        layers: int = 1,
        init_std: float = 0.01,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if cell not in CELLS:
            raise ValueError(f"Stack expects a cell out of {', '.join(CELLS)}; got {cell!r}")
        if layers < 1:
            raise ValueError(f"Stack expects at least 1 layer, got {layers}")
        self.layers = nnx.List(
            [
                CELLS[cell](
                    in_features if layer == 0 else hidden_features,
                    hidden_features,
                    init_std=init_std,
                    param_dtype=param_dtype,
                    rngs=rngs,
                )
                for layer in range(layers)
            ]
        )

    def initial_carry(self, batch_size: int) -> tuple:
        """One zero carry a layer."""
        return tuple(layer.initial_carry(batch_size) for layer in self.layers)

    def __call__(
        self,
        xs: jax.Array,
        carries: tuple,
        *,
        engine: str = "auto",
        resets: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple]:
        new_carries = []
        for layer, carry in zip(self.layers, carries, strict=True):
            carry, xs = unroll(layer, xs, carry, engine=engine, resets=resets)
            new_carries.append(carry)
        return xs, tuple(new_carries)
