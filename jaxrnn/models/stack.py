"""Layers of cells, one above the other, with skip connections and dropout at its sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells import CELLS
from jaxrnn.cells.base import DEFAULT_KERNEL_INIT, Carry, Cell, Initializer
from jaxrnn.engines import unroll
from jaxrnn.engines.window import is_ids
from jaxrnn.models.bidirectional import Bidirectional, BidirectionalCarry, backward_features, reverse_steps
from jaxrnn.models.dropout import Dropout
from jaxrnn.models.first_carry import learnable_carry, with_learned
from jaxrnn.models.foreign_cells import check_cell, fresh_carry, one_hot, refuse_inside


class Stack(nnx.Module):
    r"""Recurrent layers: the outputs of one are the inputs of the next.

        h^1_t = cell_1(x_t, carry^1_{t-1})
        h^l_t = cell_l(h^{l-1}_t, carry^l_{t-1})             with skip connections cell_l([h^{l-1}_t, x_t], ...)
        y_t   = h^L_t                                        with skip connections [h^1_t, ..., h^L_t]

    The layers may be of different kinds and sizes. `Stack.of` makes equal ones by name.

    Args:
      cells: the layers from the bottom to the top: `Cell`s, or others called as `cell(carry, x)`, such as Flax's, that
        have `in_features`, `hidden_features`, and `initial_carry(batch_size)` or Flax's `initialize_carry`. With F
        features, or symbols, of input and H_l hidden features, layer l reads H_{l-1}, with skip connections
        H_{l-1} + F. The first one's F is the stack's. A foreign cell reads ids as one-hot features; it can have no
        recurrent dropout and no `clip_backward`, and what `keep_rngs` left in one of Flax's is taken out of it. A
        `Bidirectional` layer, of two cells, takes lengths but no resets.
      skip_connections: the input goes to every layer, and the output holds every layer's h (Graves, 2013).
      learned_initial_carry: the carry of a fresh start is a parameter, at first zero.

    Call: `(xs, carries)` with xs of shape (T, B) or (T, B, F) gives `(ys, carries)`, ys of shape
    (T, B, out_features).

    Raises:
      ValueError: if there is no layer, one is no cell, the sizes of two do not fit, or a carry cannot be learned.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxrnn.cells import GRUCell, LSTMCell
      >>> rngs = nnx.Rngs(0)
      >>> stack = Stack([LSTMCell(65, 8, rngs=rngs), GRUCell(8, 4, rngs=rngs)])
      >>> ys, carries = stack(jnp.zeros((25, 2), jnp.uint8), stack.initial_carry(2))
      >>> ys.shape, [type(carry).__name__ for carry in carries]
      ((25, 2, 4), ['LSTMCarry', 'GRUCarry'])
    """

    def __init__(self, cells: Sequence[Any], *, skip_connections: bool = False, learned_initial_carry: bool = False):
        _check_cells(cells, skip_connections)
        self.in_features = cells[0].in_features
        self.skip_connections = skip_connections
        widths = [cell.hidden_features for cell in cells]
        self.out_features = sum(widths) if skip_connections else widths[-1]
        self.layers = nnx.List(cells)
        self.first_carry = (
            learnable_carry([fresh_carry(layer, 1) for layer in self.layers]) if learned_initial_carry else None
        )

    @property
    def is_bidirectional(self) -> bool:
        """Whether a layer reads the sequence backward too."""
        return any(isinstance(layer, Bidirectional) for layer in self.layers)

    @property
    def backward_features(self) -> list[bool]:
        """Of each of the `out_features`, whether it was read backward in time."""
        seen = self.layers if self.skip_connections else [self.layers[-1]]
        return [backward for layer in seen for backward in backward_features(layer)]

    @classmethod
    def of(
        cls,
        cell: str,
        in_features: int,
        hidden_features: int,
        *,
        layers: int = 1,
        skip_connections: bool = False,
        bidirectional: bool = False,
        learned_initial_carry: bool = False,
        cell_options: Mapping[str, Any] | None = None,
        kernel_init: Initializer = DEFAULT_KERNEL_INIT,
        recurrent_init: Initializer | None = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> Stack:
        """Equal layers of a cell by its name.

        Args:
          cell: name of the cell, a key of `jaxrnn.CELLS`.
          in_features: F, or the number of symbols when the input is ids.
          hidden_features: H of every layer.
          layers: how many.
          skip_connections, learned_initial_carry: as for `Stack`.
          bidirectional: each layer is a `Bidirectional` one, with H features from each end.
          cell_options: further arguments of the cell, such as `forget_bias`.
          kernel_init: draws the starting weights; see `Cell`.
          recurrent_init: draws the recurrent ones by itself, such as `jax.nn.initializers.orthogonal()`; see `Cell`.
          param_dtype: dtype of the parameters.
          rngs: keys for the starting values.

        Raises:
          ValueError: if the cell is unknown or there is no layer.

        Example:
          >>> from flax import nnx
          >>> stack = Stack.of("lstm", 65, 100, layers=2, skip_connections=True, rngs=nnx.Rngs(0))
          >>> [layer.in_features for layer in stack.layers], stack.out_features
          ([65, 165], 200)
        """
        if cell not in CELLS:
            raise ValueError(f"Stack expects a cell out of {', '.join(CELLS)}; got {cell!r}")
        if not hasattr(layers, "__index__") or layers < 1:
            raise ValueError(f"Stack expects at least 1 layer, got {layers!r}")
        # Not handed on where it is not given: a user's cell need not take it.
        options = dict(cell_options or {}) | ({} if recurrent_init is None else {"recurrent_init": recurrent_init})
        options.update(kernel_init=kernel_init, param_dtype=param_dtype, rngs=rngs)
        carried = {"skip_connections": skip_connections, "learned_initial_carry": learned_initial_carry}
        directions = 2 if bidirectional else 1
        above = directions * hidden_features + (in_features if skip_connections else 0)
        sizes = [in_features] + [above] * (layers - 1)
        cells = [[CELLS[cell](size, hidden_features, **options) for _ in range(directions)] for size in sizes]
        return cls([Bidirectional(*each) if bidirectional else each[0] for each in cells], **carried)

    def initial_carry(self, batch_size: int) -> tuple[Carry, ...]:
        """The carry of a fresh start, one a layer: zeros, or what was learned."""
        carries = tuple(fresh_carry(layer, batch_size) for layer in self.layers)
        if self.first_carry is None:
            return carries
        return tuple(map(with_learned, carries, self.first_carry))

    def __call__(
        self,
        xs: jax.Array,
        carries: tuple[Carry, ...],
        *,
        engine: str = "auto",
        resets: jax.Array | None = None,
        lengths: jax.Array | None = None,
        times: jax.Array | None = None,
        dropout: Dropout | None = None,
        clip_backward: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[Carry, ...]]:
        if xs.ndim < (2 if is_ids(xs) else 3):
            raise ValueError(f"Stack expects ids (T, B) or features (T, B, F), got {xs.dtype} {tuple(xs.shape)}")
        if resets is not None and self.is_bidirectional:
            raise ValueError("a bidirectional layer takes no resets: it reads whole sequences; give their lengths")
        T, B = xs.shape[:2]
        if not isinstance(carries, tuple | list) or len(carries) != len(self.layers):
            raise ValueError(
                f"expected a tuple of carries, one for each of the {len(self.layers)} layers, got a "
                f"{type(carries).__name__}; initial_carry({B}) makes it"
            )
        lowest = self.layers[0]
        dtype = lowest.W_h[...].dtype if isinstance(lowest, Cell) else jax.tree.leaves(carries)[0].dtype

        def mask(site: str, layer: int, features: int) -> jax.Array | None:
            return None if dropout is None else dropout.mask(site, layer, T, features, dtype)

        scale = None
        if is_ids(xs):
            scale = None if dropout is None else _scale_of_ids(dropout, xs, self.in_features, dtype)
        else:
            xs = _times(xs, mask("input", 0, xs.shape[2]))

        shared: dict[str, Any] = {"engine": engine, "resets": resets, "lengths": lengths}

        def run(cell: Any, site: int, carry: Carry, fresh: Carry | None, inputs: Any, scale: Any, times: Any) -> tuple:
            masked: dict[str, Any] = {"recurrent_mask": mask("recurrent", site, cell.hidden_features)}
            masked["clip_backward"] = clip_backward
            if not isinstance(cell, Cell):
                refuse_inside(cell, **masked)
                inputs, scale = one_hot(inputs, self.in_features, scale, jax.tree.leaves(carry)[0].dtype), None
                fresh = fresh_carry(cell, B) if fresh is None and resets is not None else fresh
            return unroll(cell, inputs, carry, fresh=fresh, input_scale=scale, times=times, **masked, **shared)

        learned = self.initial_carry(B) if self.first_carry is not None else (None,) * len(self.layers)
        outputs, new_carries = [], []
        below: jax.Array | None = None
        for number, (layer, carry) in enumerate(zip(self.layers, carries, strict=True)):
            window = (self._input(xs, below), scale if below is None or self.skip_connections else None, times)
            if isinstance(layer, Bidirectional):
                last, h = run(layer.forward, number, carry.forward, None, *window)
                window = reverse_steps(window, lengths)
                first, back = run(layer.backward, number + len(self.layers), carry.backward, None, *window)
                carry, h = BidirectionalCarry(last, first), jnp.concatenate([h, reverse_steps(back, lengths)], axis=-1)
            else:
                carry, h = run(layer, number, carry, learned[number], *window)
            new_carries.append(carry)
            outputs.append(h)
            if number + 1 < len(self.layers):
                below = _times(h, mask("between", number, layer.hidden_features))
        ys = jnp.concatenate(outputs, axis=-1) if self.skip_connections else outputs[-1]
        return _times(ys, mask("output", 0, self.out_features)), tuple(new_carries)

    def _input(self, xs: jax.Array, below: jax.Array | None) -> Any:
        if below is None:
            return xs
        if not self.skip_connections:
            return below
        return (below, xs) if is_ids(xs) else jnp.concatenate([below, xs], axis=-1)


def stack_below(
    stack: Stack | int, in_features: int, *, cell: str | None = None, rngs: nnx.Rngs, **options: Any
) -> Stack:
    """The stack below a model's output layer: the one that is given, or one of so many hidden features by name.

    Args:
      stack: a `Stack`, or H of every layer.
      in_features: F, or the number of symbols, as the model hands them on.
      cell: name of the cell where H is given; "vanilla" if None.
      rngs: keys for its starting values.
      options: those of `Stack.of`. Beside a stack only `kernel_init` and `param_dtype`, which the output layer uses.

    Raises:
      ValueError: if the stack expects another input, or options come with it.
    """
    if not isinstance(stack, Stack):
        if not hasattr(stack, "__index__"):
            raise ValueError(f"the model expects a Stack, or H for layers by name; got {type(stack).__name__}")
        return Stack.of(cell or "vanilla", in_features, stack, rngs=rngs, **options)
    without_effect = sorted({*options, *([] if cell is None else ["cell"])} - {"kernel_init", "param_dtype"})
    if without_effect:
        raise ValueError(f"{', '.join(without_effect)} would have no effect beside a Stack; give them to the stack")
    if stack.in_features != in_features:
        raise ValueError(f"the model expects a Stack with in_features={in_features}; got one of {stack.in_features}")
    return stack


def _check_cells(cells: Sequence[Any], skip_connections: bool) -> None:
    if not isinstance(cells, Sequence) or isinstance(cells, str):
        kind = type(cells).__name__
        raise ValueError(f"Stack expects a sequence of cells, got a {kind}; Stack.of makes one by the cell's name")
    if not cells:
        raise ValueError("Stack expects at least 1 layer, got 0")
    for number, cell in enumerate(cells):
        if not isinstance(cell, Bidirectional):
            check_cell(cell, f"layer {number}")
        if number == 0:
            continue
        below, features = cells[number - 1].hidden_features, cells[0].in_features
        expected = below + (features if skip_connections else 0)
        if cell.in_features != expected:
            parts = f", {below} of the layer below and {features} of the input" if skip_connections else ""
            raise ValueError(
                f"layer {number} of a Stack reads {expected} features{parts}; "
                f"its {type(cell).__name__} has in_features={cell.in_features}"
            )


def _scale_of_ids(dropout: Dropout, ids: jax.Array, symbols: int, dtype: Any) -> jax.Array | None:
    # Of a one-hot input only the column of the symbol counts: one draw a step, or for a whole window one a symbol.
    if not dropout.per_window:
        mask = dropout.mask("input", 0, ids.shape[0], 1, dtype)
        return None if mask is None else mask[:, :, 0]
    mask = dropout.mask("input", 0, 1, symbols, dtype)
    return None if mask is None else mask[0][jnp.arange(ids.shape[1])[None, :], ids]


def _times(xs: jax.Array, mask: jax.Array | None) -> jax.Array:
    return xs if mask is None else xs * mask
