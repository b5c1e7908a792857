"""The sequence classifier: a sequence in, the logits of its class out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import DEFAULT_KERNEL_INIT, Initializer
from jaxrnn.models.stack import Stack

POOLINGS = ("last", "mean")


class SequenceClassifier(nnx.Module):
    r"""A stack of recurrent layers; a linear output layer reads its last steps, or the mean over all.

        h_t    = stack(x_t, carry_{t-1})
        s      = h_T                    pooling "last"         mean_t h_t          pooling "mean"
        logits = s W_y + b_y            p(class | x_1 .. x_T) = softmax(logits)

    With K answers the output layer reads h_{T-K+1} .. h_T, one answer each. For a regression the logits are
    the numbers.

    Args:
      in_features: F, or the number of symbols when the input is ids.
      classes: C.
      hidden_features: H of every layer.
      pooling: "last" or "mean".
      answers: K; more than 1 only with pooling "last".
      cell, layers, skip_connections, learned_initial_carry, cell_options: as for `Stack`.
      kernel_init: draws the starting weights, W_y included; biases start at 0.
      recurrent_init: as for `Stack`.
      param_dtype: dtype of the parameters.
      rngs: keys for the starting values.

    Call: `(xs, carries)` with xs of shape (T, B) or (T, B, F) gives `(logits, carries)`, logits of shape (K, B, C).

    Raises:
      ValueError: if the pooling is unknown, or K does not go with it.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> model = SequenceClassifier(10, 3, 128, cell="lstm", rngs=nnx.Rngs(0))
      >>> logits, carries = model(jnp.zeros((20, 2), jnp.uint8), model.initial_carry(2))
      >>> logits.shape
      (1, 2, 3)
    """

    def __init__(
        self,
        in_features: int,
        classes: int,
        hidden_features: int,
        *,
        pooling: str = "last",
        answers: int = 1,
        cell: str = "vanilla",
        layers: int = 1,
        skip_connections: bool = False,
        learned_initial_carry: bool = False,
        cell_options: Mapping[str, Any] | None = None,
        kernel_init: Initializer = DEFAULT_KERNEL_INIT,
        recurrent_init: Initializer | None = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if pooling not in POOLINGS:
            raise ValueError(f"SequenceClassifier expects a pooling out of {', '.join(POOLINGS)}; got {pooling!r}")
        if answers < 1 or (answers > 1 and pooling == "mean"):
            raise ValueError(f"SequenceClassifier expects 1 answer, or more with pooling 'last'; got {answers}")
        self.pooling, self.answers = pooling, answers
        self.stack = Stack(
            in_features,
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
        self.W_y = nnx.Param(kernel_init(rngs.params(), (self.stack.out_features, classes), param_dtype))
        self.b_y = nnx.Param(jnp.zeros((classes,), param_dtype))

    def initial_carry(self, batch_size: int) -> tuple:
        """The carry of a fresh start, one a layer."""
        return self.stack.initial_carry(batch_size)

    def __call__(self, xs: jax.Array, carries: tuple, **options: Any) -> tuple[jax.Array, tuple]:
        """Options are those of `Stack`: engine, dropout, clip_backward, times."""
        if xs.shape[0] < self.answers:
            raise ValueError(f"SequenceClassifier expects at least {self.answers} steps, one an answer; got {len(xs)}")
        h, carries = self.stack(xs, carries, **options)
        read = h.mean(axis=0, keepdims=True) if self.pooling == "mean" else h[-self.answers :]
        return read @ self.W_y[...] + self.b_y[...][None, None, :], carries
