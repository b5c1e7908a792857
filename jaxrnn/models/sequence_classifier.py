"""The sequence classifier: a sequence in, the logits of its class out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import DEFAULT_KERNEL_INIT, Initializer
from jaxrnn.engines.choose import is_reverse_only
from jaxrnn.engines.products import affine
from jaxrnn.models.stack import Stack, stack_below

POOLINGS = ("last", "mean")


class SequenceClassifier(nnx.Module):
    r"""A stack of recurrent layers; a linear output layer reads its last steps, or the mean over all.

        h_t    = stack(x_t, carry_{t-1})
        s      = h_T                    pooling "last"         mean_t h_t          pooling "mean"
        logits = s W_y + b_y            p(class | x_1 .. x_T) = softmax(logits)

    With K answers the output layer reads h_{T-K+1} .. h_T, one answer each. For a regression the logits are
    the numbers. With lengths T is each sequence's own; in one that is shorter than K the missing answers are read from
    its first step. As many answers as there are steps are those of the steps in their order, whatever the lengths. Of a
    `Bidirectional` layer the one answer of "last" reads f_T and b_1, where each has seen all.

    Args:
      in_features: F, or the number of symbols when the input is ids.
      classes: C.
      stack: the layers, a `Stack` with F input features; or H, for layers by name.
      pooling: "last" or "mean".
      answers: K; more than 1 only with pooling "last".
      kernel_init: draws the starting weights, W_y included; biases start at 0.
      param_dtype: dtype of the parameters.
      rngs: keys for the starting values: the layers' first, if they are made here, then W_y's.
      stack_options: where H is given, those of `Stack.of`: `cell` ("vanilla" if not given), `layers` and so on.

    Call: `(xs, carries)` with xs of shape (T, B) or (T, B, F) gives `(logits, carries)`, logits of shape (K, B, C).

    Raises:
      ValueError: if the pooling is unknown, K does not go with it, the stack expects another input, or there are stack
        options beside a stack.

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
        stack: Stack | int,
        *,
        pooling: str = "last",
        answers: int = 1,
        kernel_init: Initializer = DEFAULT_KERNEL_INIT,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
        **stack_options: Any,
    ):
        if pooling not in POOLINGS:
            raise ValueError(f"SequenceClassifier expects a pooling out of {', '.join(POOLINGS)}; got {pooling!r}")
        if answers < 1 or (answers > 1 and pooling == "mean"):
            raise ValueError(f"SequenceClassifier expects 1 answer, or more with pooling 'last'; got {answers}")
        if not hasattr(classes, "__index__") or classes < 1:
            raise ValueError(f"SequenceClassifier expects at least 1 class, or number, an answer; got {classes!r}")
        self.pooling, self.answers = pooling, answers
        stack_options.update(kernel_init=kernel_init, param_dtype=param_dtype, rngs=rngs)
        self.stack = stack_below(stack, in_features, **stack_options)
        self.W_y = nnx.Param(kernel_init(rngs.params(), (self.stack.out_features, classes), param_dtype))
        self.b_y = nnx.Param(jnp.zeros((classes,), param_dtype))

    def initial_carry(self, batch_size: int) -> tuple:
        """The carry of a fresh start, one a layer."""
        return self.stack.initial_carry(batch_size)

    def __call__(
        self, xs: jax.Array, carries: tuple, *, lengths: jax.Array | None = None, **options: Any
    ) -> tuple[jax.Array, tuple]:
        """The length of each sequence, (B,), if they differ; options are those of `Stack`: engine, dropout, ..."""
        if xs.shape[0] < self.answers:
            raise ValueError(f"SequenceClassifier expects at least {self.answers} steps, one an answer; got {len(xs)}")
        h, carries = self.stack(xs, carries, lengths=lengths, **options)
        engine = options.get("engine", "auto")
        return affine(self._read(h, lengths), self.W_y[...], self.b_y[...], is_reverse_only(engine)), carries

    def _read(self, h: jax.Array, lengths: jax.Array | None) -> jax.Array:
        ends = None if lengths is None else jnp.clip(lengths.astype(jnp.int32), 1, len(h))[None, :, None]
        if self.pooling == "mean":  # past an end h is 0
            return (
                h.mean(axis=0, keepdims=True) if ends is None else h.sum(axis=0, keepdims=True) / ends.astype(h.dtype)
            )
        if ends is None or self.answers == len(h):
            read = h[-self.answers :]
        else:
            back = jnp.arange(self.answers, 0, -1, dtype=jnp.int32)[:, None, None]
            read = jnp.take_along_axis(h, jnp.maximum(ends - back, 0), axis=0)
        if self.answers > 1 or not any(self.stack.backward_features):
            return read
        return jnp.where(jnp.asarray(self.stack.backward_features)[None, None, :], h[:1], read)
