"""An engine that keeps what happens inside every layer: gates, and the parts of the carry, step by step.

Gates stay inside a cell's `update`, which returns none of them. They are read from its jaxpr: each `logistic` that it
computes is one, in the order of computing, so every cell shows its gates without a line from its author.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxrnn.cells.base import Cell
from jaxrnn.cells.inner_product import filled_in
from jaxrnn.engines.window import input_product, input_weights, keep_finished, recurrent_product, reset_carry

# The gates of the built-in cells, in the order in which `update` computes them.
LSTMS = ("LSTMCell", "PeepholeLSTMCell", "FullPeepholeLSTMCell", "MultiplicativeLSTMCell", "LayerNormLSTMCell")
# The time gate of the last of the LSTMs is no logistic: see `openness`.
GATES: dict[str, tuple[str, ...]] = dict.fromkeys((*LSTMS, "TemporalGateLSTMCell"), ("input", "forget", "output"))
GATES |= dict.fromkeys(("GRUCell", "ResetBeforeGRUCell"), ("reset", "update"))
CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat"}
)


class Activity(NamedTuple):
    """What one layer did in a window.

    Attributes:
      gates: each gate by its name, (T, B, H); of a cell that is not built in, `gate 1`, `gate 2` and so on.
      carry: the parts of the carry after each step by name, (T, B, H): `h`, of an LSTM `c` too.
    """

    gates: dict[str, jax.Array]
    carry: dict[str, jax.Array]


def gate_names(cell: Any, count: int) -> tuple[str, ...]:
    """The names of a cell's gates in the order of computing."""
    names = GATES.get(type(cell).__name__, ())
    return names if len(names) == count else tuple(f"gate {number + 1}" for number in range(count))


def with_gates(function: Callable[..., Any]) -> Callable[..., tuple[Any, list[jax.Array]]]:
    """A function that computes what this one does, and gives every logistic in it beside the result.

    Those inside a loop or a branch of the function are not seen.

    Example:
      >>> y, gates = with_gates(lambda x: 2 * jax.nn.sigmoid(x))(jax.numpy.zeros(3))
      >>> y.tolist(), gates[0].tolist()
      ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    """

    def run(*args: Any) -> tuple[Any, list[jax.Array]]:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        gates: list[jax.Array] = []
        outputs = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args), gates)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs), gates

    return run


def _evaluate(jaxpr: Any, constants: Any, arguments: Any, gates: list[jax.Array]) -> list[Any]:
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))
    for equation in jaxpr.eqns:
        given = [v.val if isinstance(v, Literal) else values[v] for v in equation.invars]
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if equation.primitive.name in CALLS and isinstance(inner, ClosedJaxpr):
            outputs = _evaluate(inner.jaxpr, inner.consts, given, gates)
        elif equation.primitive.name in CALLS and isinstance(inner, Jaxpr):
            outputs = _evaluate(inner, (), given, gates)
        else:
            made = equation.primitive.bind(*given, **equation.primitive.get_bind_params(equation.params))
            outputs = made if equation.primitive.multiple_results else [made]
            if equation.primitive.name == "logistic":
                gates.extend(outputs)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [v.val if isinstance(v, Literal) else values[v] for v in jaxpr.outvars]


def observing(found: list[Activity], change: Callable[[int, Any], Any] | None = None) -> Callable[..., Any]:
    """An engine for `unroll`, and for models that hand theirs on, which adds each layer's `Activity` to a list.

    Args:
      found: where they go, from the lowest layer up; those of the trace in which the model is called.
      change: called with the number of the layer and h after each step, (B, H); what it returns takes the place of h in
        the carry and in the output.
    """

    def engine(cell: Any, window: Any, carry: Any, fresh: Any, clip_backward: Any) -> tuple[Any, jax.Array]:
        del clip_backward  # there is no backward pass
        number = len(found)
        weights = input_weights(cell, window) if isinstance(cell, Cell) else None
        names: list[str] = []

        def step(carry: Any, now: Any) -> Any:
            features, ids, scale, t, reset, valid = now
            if reset is not None:
                carry = reset_carry(carry, reset, fresh)
            if weights is None:
                (new, y), gates = with_gates(lambda carry, x: cell(carry, x))(carry, features)
            else:
                p = input_product(weights, features, ids, scale)
                r = recurrent_product(cell.W_h[...], None if cell.b_h is None else cell.b_h[...], carry.h, None)
                pointwise = filled_in(cell.pointwise(), None, None)
                (new, y), gates = with_gates(cell.update)(p, r, carry, pointwise, t)
            if change is not None:
                changed = change(number, y)
                new, y = (new._replace(h=changed) if hasattr(new, "h") else new), changed
            names[:] = gate_names(cell, len(gates))
            new, y = (new, y) if valid is None else keep_finished(valid, new, carry, y)
            return new, (y, gates, _parts(new))

        steps = (window.features, window.ids, window.input_scale, window.times, window.resets, window.valid)
        carry, (ys, gates, parts) = jax.lax.scan(step, carry, steps)
        found.append(Activity(dict(zip(names, gates, strict=True)), parts))
        return carry, ys

    return engine


def _parts(carry: Any) -> dict[str, jax.Array]:
    """The parts of a carry that have a number a unit, by name."""
    named = carry._asdict() if hasattr(carry, "_asdict") else {}
    if not named:
        leaves = jax.tree.leaves(carry)
        named = {
            "h" if number == len(leaves) - 1 else f"carry {number + 1}": leaf for number, leaf in enumerate(leaves)
        }
    return {name: leaf for name, leaf in named.items() if isinstance(leaf, jax.Array) and leaf.ndim == 2}
