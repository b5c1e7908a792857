"""The language model: ids in, logits of the next symbol out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import DEFAULT_KERNEL_INIT, Initializer
from jaxrnn.models.stack import Stack


class LanguageModel(nnx.Module):
    r"""A stack of recurrent layers below a linear output layer.

        h_t      = stack(x_t, carry_{t-1})
        logits_t = h_t W_y + b_y            p(x_{t+1} | x_1 .. x_t) = softmax(logits_t)

    x_t is the symbol as a one-hot vector, or its row of an embedding.

    Args:
      vocabulary_size: V.
      hidden_features: H of every layer.
      cell: name of the cell.
      layers: how many recurrent layers.
      embedding: features of a dense embedding; 0 feeds symbols one-hot.
      tie_embedding: W_y is the embedding transposed (Press and Wolf, 2017); the sizes must agree.
      skip_connections, learned_initial_carry, cell_options: as for `Stack`.
      kernel_init: draws the starting weights, W_y and the embedding included; biases start at 0.
      recurrent_init: as for `Stack`.
      param_dtype: dtype of the parameters.
      rngs: keys for the starting values.

    Call: `(ids, carries)` with ids of shape (T, B) gives `(logits, carries)`, logits of shape (T, B, V).

    Raises:
      ValueError: if the embedding is to be tied and its size is not that of the stack's output.

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
        embedding: int = 0,
        tie_embedding: bool = False,
        skip_connections: bool = False,
        learned_initial_carry: bool = False,
        cell_options: Mapping[str, Any] | None = None,
        kernel_init: Initializer = DEFAULT_KERNEL_INIT,
        recurrent_init: Initializer | None = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.vocabulary_size = vocabulary_size
        self.stack = Stack(
            embedding or vocabulary_size,
            hidden_features,
            cell=cell,
            layers=layers,
            skip_connections=skip_connections,
            learned_initial_carry=learned_initial_carry,
            cell_options=cell_options,
            kernel_init=kernel_init,
            recurrent_init=recurrent_init,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        out_features = self.stack.out_features
        if tie_embedding and embedding != out_features:
            raise ValueError(f"a tied embedding needs {out_features} features, those of the output; got {embedding}")

        def weights(rows: int, columns: int) -> nnx.Param:
            return nnx.Param(kernel_init(rngs.params(), (rows, columns), param_dtype))

        self.embedding = weights(vocabulary_size, embedding) if embedding else None
        self.W_y = None if tie_embedding else weights(out_features, vocabulary_size)
        self.b_y = nnx.Param(jnp.zeros((vocabulary_size,), param_dtype))

    def initial_carry(self, batch_size: int) -> tuple:
        """The carry of a fresh start, one a layer."""
        return self.stack.initial_carry(batch_size)

    def __call__(self, ids: jax.Array, carries: tuple, **options: Any) -> tuple[jax.Array, tuple]:
        """Options are those of `Stack`: engine, resets, lengths, times, dropout, clip_backward."""
        xs = ids if self.embedding is None else self.embedding[...][ids]
        h, carries = self.stack(xs, carries, **options)
        if self.W_y is not None:
            W_y = self.W_y[...]
        else:
            assert self.embedding is not None
            W_y = self.embedding[...].T
        return h @ W_y + self.b_y[...][None, None, :], carries
