"""The language model: ids in, logits of the next symbol out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import DEFAULT_KERNEL_INIT, Initializer
from jaxrnn.engines.choose import is_reverse_only
from jaxrnn.engines.products import affine
from jaxrnn.models.stack import Stack, stack_below


class LanguageModel(nnx.Module):
    r"""A stack of recurrent layers below a linear output layer.

        h_t      = stack(x_t, carry_{t-1})
        logits_t = h_t W_y + b_y            p(x_{t+1} | x_1 .. x_t) = softmax(logits_t)

    x_t is the symbol as a one-hot vector, or its row of an embedding.

    Args:
      vocabulary_size: V.
      stack: the layers, a `Stack` that reads as many features as the embedding has, else V symbols; or H, for layers
        by name.
      embedding: features of a dense embedding; 0 feeds symbols one-hot.
      tie_embedding: W_y is the embedding transposed (Press and Wolf, 2017); the sizes must agree.
      kernel_init: draws the starting weights, W_y and the embedding included; biases start at 0.
      param_dtype: dtype of the parameters.
      rngs: keys for the starting values: the layers' first, if they are made here, then the embedding's and W_y's.
      stack_options: where H is given, those of `Stack.of`: `cell` ("vanilla" if not given), `layers` and so on.

    Call: `(ids, carries)` with ids of shape (T, B) gives `(logits, carries)`, logits of shape (T, B, V).

    Raises:
      ValueError: if the embedding is to be tied and its size is not that of the stack's output, the stack expects
        another input or reads backward, or there are stack options beside a stack.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> model = LanguageModel(65, 100, rngs=nnx.Rngs(0))
      >>> logits, carries = model(jnp.zeros((25, 1), jnp.uint8), model.initial_carry(1))
      >>> logits.shape
      (25, 1, 65)

    The layers by themselves, here of two kinds:
      >>> from jaxrnn.cells import GRUCell, LSTMCell
      >>> rngs = nnx.Rngs(0)
      >>> model = LanguageModel(65, Stack([LSTMCell(65, 8, rngs=rngs), GRUCell(8, 4, rngs=rngs)]), rngs=rngs)
      >>> model.W_y.shape
      (4, 65)
    """

    def __init__(
        self,
        vocabulary_size: int,
        stack: Stack | int,
        *,
        embedding: int = 0,
        tie_embedding: bool = False,
        kernel_init: Initializer = DEFAULT_KERNEL_INIT,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
        **stack_options: Any,
    ):
        self.vocabulary_size = vocabulary_size
        stack_options.update(kernel_init=kernel_init, param_dtype=param_dtype, rngs=rngs)
        self.stack = stack_below(stack, embedding or vocabulary_size, **stack_options)
        if self.stack.is_bidirectional:
            raise ValueError(
                "a LanguageModel cannot be bidirectional: a backward layer has seen the symbol that is to be predicted"
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
        h, carries = self.hidden(ids, carries, **options)
        return affine(h, *self.output, is_reverse_only(options.get("engine", "auto"))), carries

    def hidden(self, ids: jax.Array, carries: tuple, **options: Any) -> tuple[jax.Array, tuple]:
        """What the output layer reads, (T, B, H), and the carries after it; called as the model is."""
        return self.stack(ids if self.embedding is None else self.embedding[...][ids], carries, **options)

    @property
    def output(self) -> tuple[jax.Array, jax.Array]:
        """W_y, (H, V), and b_y, (V,)."""
        if self.W_y is not None:
            return self.W_y[...], self.b_y[...]
        assert self.embedding is not None
        return self.embedding[...].T, self.b_y[...]
