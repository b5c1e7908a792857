"""The language model: ids in, logits of the next symbol out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.stack import Stack


class LanguageModel(nnx.Module):
    r"""A stack of recurrent layers below a linear output layer.

        h_t      = stack(x_t, carry_{t-1})
        logits_t = h_t W_y + b_y            p(x_{t+1} | x_1 .. x_t) = softmax(logits_t)

    Args:
      vocabulary_size: V.
      hidden_features: H of every layer.
      cell: name of the cell.
      layers: how many recurrent layers.
      init_std: standard deviation of the starting weights, W_y included; biases start at 0.
      param_dtype: dtype of the parameters.
      rngs: keys for the starting values.

    Call: `(ids, carries)` with ids of shape (T, B) gives `(logits, carries)`, logits of shape (T, B, V).

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> model = LanguageModel(65, 100, rngs=nnx.Rngs(0))
      >>> logits, carries = model(jnp.zeros((25, 1), jnp.uint8), model.initial_carry(1))
      >>> logits.shape
      (25, 1, 65)
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_features: int,
        *,
        cell: str = "vanilla",
        layers: int = 1,
        init_std: float = 0.01,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.vocabulary_size = vocabulary_size
        self.stack = Stack(
            vocabulary_size,
            hidden_features,
            cell=cell,
            layers=layers,
            init_std=init_std,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        W_y = init_std * jax.random.normal(rngs.params(), (hidden_features, vocabulary_size), param_dtype)
        self.W_y = nnx.Param(W_y)
        self.b_y = nnx.Param(jnp.zeros((vocabulary_size,), param_dtype))

    def initial_carry(self, batch_size: int) -> tuple:
        """One zero carry a layer."""
        return self.stack.initial_carry(batch_size)

    def __call__(
        self,
        ids: jax.Array,
        carries: tuple,
        *,
        engine: str = "auto",
        resets: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple]:
        h, carries = self.stack(ids, carries, engine=engine, resets=resets)
        return h @ self.W_y[...] + self.b_y[...][None, None, :], carries
