"""The contract of a cell: two matrix products and a pointwise update."""

from __future__ import annotations

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.initializers import Initializer

Carry = Any  # a named tuple of (B, ...) arrays with a field `h`, (B, H)


DEFAULT_KERNEL_INIT: Initializer = jax.nn.initializers.normal(0.01)


def recurrent_matrix(
    hidden_features: int,
    blocks: int,
    *,
    kernel_init: Initializer,
    recurrent_init: Initializer | None,
    param_dtype: Any,
    rngs: nnx.Rngs,
) -> jax.Array:
    """The starting values of a matrix that multiplies a state, (H, blocks * H): see `Cell`."""
    H = hidden_features
    if recurrent_init is None:
        return kernel_init(rngs.params(), (H, blocks * H), param_dtype)
    return jnp.concatenate([recurrent_init(rngs.params(), (H, H), param_dtype) for _ in range(blocks)], axis=1)


def gate_biases(hidden_features: int, gates: int, start: float, param_dtype: Any) -> jax.Array:
    """Starting biases of the gates' blocks, (gates * H,): of the second one `start`, of the others 0."""
    at_start = [start + 0.0 if gate == 1 else 0.0 for gate in range(gates)]  # + 0.0: of -0.0 it is 0.0
    return jnp.repeat(jnp.asarray(at_start, param_dtype), hidden_features)


class Cell(nnx.RNNCellBase, abc.ABC):
    r"""One step of a recurrent network.

    With input x_t and the hidden state h_{t-1} of the carry:

        p_t = x_t W_x + b                                      input product
        r_t = h_{t-1} W_h (+ b_h)                              recurrent product
        carry_t, y_t = update(p_t, r_t, carry_{t-1}, pointwise, t)

    A new cell writes `update` and `initial_carry`, and no gradient: the engines of `jaxrnn.engines` take it from there.
    It is a cell of Flax too: `nnx.RNN(cell)` and `nnx.Bidirectional` give what `jaxrnn.unroll` gives.
    p has G = blocks * H features, one block a gate; r has recurrent_blocks * H, as many unless said otherwise.

    Args:
      in_features: F, the size of x_t; the number of symbols when the input is ids.
      hidden_features: H, the size of h.
      blocks: how many blocks of H features the input product has.
      recurrent_blocks: how many the recurrent product has; `blocks` if None.
      use_bias: whether p_t has a bias b.
      gate_bias: starting value of b's second block: a forget gate's, or an update gate's of three.
      recurrent_bias: whether r_t has a bias of its own, b_h. Only cells whose update does more with r_t than add
        it to p_t need one.
      kernel_init: draws the starting weights, called as `kernel_init(key, shape, dtype)`, such as those of
        `jax.nn.initializers`. W_x and W_h are the rows of one draw, (F + H, G), where they are as wide: right for
        entries that are drawn each by itself, and for others W_h wants a `recurrent_init`. Biases start at 0 unless a
        cell says otherwise.
      recurrent_init: draws W_h, and what else multiplies a state of H features: one draw, (H, H), for each gate's
        block. With `jax.nn.initializers.orthogonal()` all singular values of every block are 1. `kernel_init` then
        draws W_x by itself. None leaves all to `kernel_init`.
      param_dtype: dtype of the parameters.
      rngs: keys for the starting values.

    Call: `(carry, x)` with x of shape (B, F) gives `(carry, y)`, y of shape (B, H). As in Flax there may be other batch
    axes, or none, before the last one of x and of the carry.

    Raises:
      ValueError: if a size is not positive, or, in a call, the last axis of x is not F.
    """

    # True if `update` uses p and r only as p + r. An engine may then keep one gradient array for both.
    sums_products = False
    # True if `update` makes products of its own (a GRU that resets before its product), with matrices that `pointwise`
    # holds as `InnerProduct`s. Such a cell runs on `scan`, `recompute` and `reference`.
    inner_products = False

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        blocks: int = 1,
        recurrent_blocks: int | None = None,
        use_bias: bool = True,
        gate_bias: float = 0.0,
        recurrent_bias: bool = False,
        kernel_init: Initializer = DEFAULT_KERNEL_INIT,
        recurrent_init: Initializer | None = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if not all(hasattr(size, "__index__") and size > 0 for size in (in_features, hidden_features)):
            raise ValueError(
                f"{type(self).__name__} expects positive whole numbers, got in_features={in_features!r} and "
                f"hidden_features={hidden_features!r}"
            )
        for name, draws in (("kernel_init", kernel_init), ("recurrent_init", recurrent_init)):
            if draws is not None and not callable(draws):
                raise ValueError(
                    f"{type(self).__name__} expects a function as {name}, such as jax.nn.initializers.orthogonal(), "
                    f"got {draws!r}"
                )
        if not hasattr(rngs, "params"):
            raise ValueError(f"{type(self).__name__} expects rngs=nnx.Rngs(seed), got {type(rngs).__name__}")
        self.in_features = in_features
        self.hidden_features = hidden_features
        gates = blocks * hidden_features
        recurrent_gates = gates if recurrent_blocks is None else recurrent_blocks * hidden_features
        if recurrent_gates == gates and recurrent_init is None:
            # One draw for both: each draw takes 0.1 to 0.2 s to compile.
            rows = kernel_init(rngs.params(), (in_features + hidden_features, gates), param_dtype)
            self.W_x, self.W_h = nnx.Param(rows[:in_features]), nnx.Param(rows[in_features:])
        else:
            self.W_x = nnx.Param(kernel_init(rngs.params(), (in_features, gates), param_dtype))
            drawn_by = dict(kernel_init=kernel_init, recurrent_init=recurrent_init, param_dtype=param_dtype, rngs=rngs)
            self.W_h = nnx.Param(recurrent_matrix(hidden_features, recurrent_gates // hidden_features, **drawn_by))
        self.b = nnx.Param(gate_biases(hidden_features, blocks, gate_bias, param_dtype)) if use_bias else None
        self.b_h = nnx.Param(jnp.zeros((recurrent_gates,), param_dtype)) if recurrent_bias else None

    @abc.abstractmethod
    def update(self, p: jax.Array, r: jax.Array, carry: Carry, pointwise: Any, t: jax.Array) -> tuple[Carry, jax.Array]:
        """The elementwise part of a step.

        Pure, elementwise in the batch, and it may read no parameter but those in `pointwise`.

        Args:
          p: input product, (B, G).
          r: recurrent product, (B, G).
          carry: carry_{t-1}.
          pointwise: what `self.pointwise()` returned, with masks and limits in its `InnerProduct`s.
          t: index of the step in the window, a scalar; or the times that were given to `unroll`, (B,).

        Returns:
          carry_t and the output y_t, (B, H), which the next layer sees.
        """

    @abc.abstractmethod
    def initial_carry(self, batch_size: int) -> Carry:
        """The carry of a fresh start: zeros, (B, H) each, in the dtype of the parameters."""

    @property
    def num_feature_axes(self) -> int:
        """For `nnx.RNN`: all axes of x but the last are batch axes."""
        return 1

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> Carry:
        """`initial_carry` as Flax calls it.

        Args:
          input_shape: of x; all axes but the last are batch axes.
          rngs: only for `carry_init`, from its stream "carry".
          carry_init: draws h, and what else is as large; None starts as `initial_carry` does.

        Raises:
          ValueError: if `carry_init` comes without keys.
        """
        carry = self.initial_carry(math.prod(input_shape[:-1]))
        carry = jax.tree.map(lambda leaf: leaf.reshape(*input_shape[:-1], leaf.shape[-1]), carry)
        if carry_init is None:
            return carry
        if rngs is None:
            raise ValueError(f"{type(self).__name__}.initialize_carry draws by carry_init: give it rngs=nnx.Rngs(seed)")
        stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
        # A count of steps, (..., 1), starts at 0 whatever is drawn.
        drawn = [name for name, leaf in carry._asdict().items() if leaf.shape == carry.h.shape]
        return carry._replace(**{name: carry_init(stream(), carry.h.shape, carry.h.dtype) for name in drawn})

    def pointwise(self) -> Any:
        """The parameters that `update` uses, as a pytree of arrays; a matrix to multiply by as an `InnerProduct`."""
        return ()

    def products(self, carry: Carry, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """p_t and r_t of dense input x, (B, F)."""
        self.check_input(x, batch_axes=1)
        h = getattr(carry, "h", None)
        if h is None or h.shape != (len(x), self.hidden_features):
            raise ValueError(
                f"{type(self).__name__} expects a carry of shape ({len(x)}, {self.hidden_features}), got "
                f"{type(carry).__name__ if h is None else tuple(h.shape)}; make it by initial_carry({len(x)})"
            )
        p = x @ self.W_x[...]
        if self.b is not None:
            p = p + self.b[...][None, :]
        r = h @ self.W_h[...]
        return p, r if self.b_h is None else r + self.b_h[...][None, :]

    def __call__(self, carry: Carry, x: jax.Array, t: jax.Array | int = 0) -> tuple[Carry, jax.Array]:
        if x.ndim != 2 and hasattr(carry, "h") and x.shape[:-1] == carry.h.shape[:-1]:
            carry, rows = jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), (carry, x))
            return jax.tree.map(lambda leaf: leaf.reshape(*x.shape[:-1], leaf.shape[-1]), self(carry, rows, t))
        p, r = self.products(carry, x)
        return self.update(p, r, carry, self.pointwise(), jnp.asarray(t))

    def check_input(self, x: jax.Array, batch_axes: int) -> None:
        """Refuses dense input whose shape does not fit; shapes are known while tracing, so this is free."""
        if x.ndim != batch_axes + 1 or x.shape[-1] != self.in_features:
            axes = ("steps", "batch")[-batch_axes:]
            expected = ", ".join([*axes, str(self.in_features)])
            raise ValueError(
                f"{type(self).__name__} expects x of shape ({expected}), got {tuple(x.shape)}; "
                "was the one-hot size taken from another vocabulary?"
            )
