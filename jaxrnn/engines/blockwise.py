"""The update of a cell and its derivative, evaluated block by block.

A kernel that holds the H features of each gate as an array of its own cannot run a cell's update as it is written, on
all gates side by side. The update is traced, and its program evaluated again on lists of blocks: splits and
concatenations are then lists cut and joined, and the rest is elementwise. The same for its `jax.vjp`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.base import Cell

ELEMENTWISE = frozenset(
    "abs add and clamp convert_element_type copy cos div eq erf exp exp2 ge gt integer_pow is_finite le log log1p "
    "logistic lt max min mul ne neg not one_minus_square or pow rsqrt select_n sign sin sqrt square stop_gradient sub "
    "tanh".split()
)


def blockwise(function: Callable[..., Any], H: int, rows: int, math: str, *shapes: Any) -> Callable[..., Any]:
    """A function of (rows, m H) arrays as one of lists of m transposed blocks, each (units, rows); scalars as they are.

    `None` as a block stands for zeros.

    Raises:
      ValueError: if the function is not elementwise, or cuts arrays elsewhere than between blocks.
    """
    closed, out = jax.make_jaxpr(function, return_shape=True)(*shapes)
    tree = jax.tree.structure(out)

    def count(aval) -> int:
        if aval.ndim == 0:
            return 0
        if aval.ndim != 2 or aval.shape[0] != rows or aval.shape[1] % H:
            raise ValueError(f"the resident engine cannot see an array of shape {aval.shape} as blocks of {H} units")
        return aval.shape[1] // H

    def cut(axis, position) -> int:
        if axis != 1 or position % H:
            raise ValueError(f"the resident engine cannot cut at feature {position} of axis {axis} with {H} units")
        return position // H

    def equation(e, xs, like):
        name, avals = e.primitive.name, [v.aval for v in e.outvars]
        inner = e.params.get("jaxpr", e.params.get("call_jaxpr", e.params.get("fun_jaxpr")))
        if inner is not None:
            return evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), xs, like)
        if name == "split":
            ends = np.cumsum([cut(e.params["axis"], size) for size in e.params["sizes"]])
            return [xs[0][a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        if name == "slice" and e.params["strides"] is None and e.params["limit_indices"][0] == rows:
            return [xs[0][cut(1, e.params["start_indices"][1]) : cut(1, e.params["limit_indices"][1])]]
        if name == "concatenate":
            cut(e.params["dimension"], 0)
            return [sum(xs, [])]
        if name == "pad" and all(lo == hi == inner == 0 for lo, hi, inner in e.params["padding_config"][:-1]):
            lo, hi, inner = e.params["padding_config"][-1]
            if inner == 0 and min(lo, hi) >= 0:
                return [[None] * cut(1, lo) + xs[0] + [None] * cut(1, hi)]
        if name == "broadcast_in_dim" and not isinstance(xs[0], list):
            if isinstance(xs[0], (int, float, np.ndarray, np.generic)) and not np.any(xs[0]):  # no tracer
                return [[None] * count(avals[0])]
            return [[jnp.full(like.shape, xs[0], avals[0].dtype)] * count(avals[0])]
        if name in ("add", "add_any") and all(isinstance(x, list) for x in xs):
            return [[a if b is None else b if a is None else a + b for a, b in zip(*xs, strict=True)]]
        if name == "mul" and all(isinstance(x, list) for x in xs):
            return [[None if a is None or b is None else a * b for a, b in zip(*xs, strict=True)]]
        if name not in ELEMENTWISE or any(v.aval.ndim and v.aval.shape != avals[0].shape for v in e.invars):
            raise ValueError(f"the resident engine expects an elementwise update; it has {name} on {e.invars}")
        if avals[0].ndim == 0:
            return [e.primitive.bind(*xs, **e.params)]
        dtypes = [v.aval.dtype for v in e.invars]
        blocks = []
        for block in range(count(avals[0])):
            values = [x[block] if isinstance(x, list) else x for x in xs]
            values = [jnp.zeros(like.shape, d) if v is None else v for v, d in zip(values, dtypes, strict=True)]
            blocks.append(_elementwise(e.primitive, values, e.params, math))
        return [blocks]

    def evaluate(jaxpr, consts, arguments, like):
        values = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, arguments, strict=False))
        for e in jaxpr.eqns:
            apply(e, values, like)
        return read(jaxpr.outvars, values)

    def apply(e, values, like) -> None:
        values.update(zip(e.outvars, equation(e, read(e.invars, values), like), strict=True))

    def read(variables, values) -> list[Any]:
        return [v.val if hasattr(v, "val") else values[v] for v in variables]

    def run(*arguments):
        flat = jax.tree.leaves(arguments, is_leaf=is_block)
        return jax.tree.unflatten(tree, evaluate(closed.jaxpr, closed.consts, flat, _block_of(flat)))

    def early(late: int, *arguments):
        """What does not need the first `late` arrays, as far as the rest needs it: the state of `finish`."""
        flat = jax.tree.leaves(arguments, is_leaf=is_block)
        values: dict[Any, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        values |= dict(zip(closed.jaxpr.invars[late:], flat, strict=True))
        for e in closed.jaxpr.eqns:
            if all(hasattr(v, "val") or v in values for v in e.invars):
                apply(e, values, _block_of(flat))
        return [values[v] for v in needed(late)]

    def needed(late: int):
        known, made = set(closed.jaxpr.invars[late:]) | set(closed.jaxpr.constvars), set()
        found: dict[Any, None] = {}
        for e in closed.jaxpr.eqns:
            variables = [v for v in e.invars if not hasattr(v, "val")]
            if all(v in known for v in variables):
                known |= set(e.outvars)
                made |= set(e.outvars) if variables else set()
            else:
                found |= dict.fromkeys(v for v in variables if v in known)
        found |= dict.fromkeys(v for v in closed.jaxpr.outvars if not hasattr(v, "val") and v in known)
        return [v for v in found if v in made or v in closed.jaxpr.invars]

    def finish(saved, *arguments):
        """Evaluates what the outputs need and `saved` has not."""
        flat = jax.tree.leaves(arguments, is_leaf=is_block)
        values: dict[Any, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        values |= dict(zip(closed.jaxpr.invars, flat, strict=False))
        ready = dict(zip(needed(len(flat)), saved, strict=True))
        wanted, equations = {v for v in closed.jaxpr.outvars if not hasattr(v, "val")}, []
        for e in reversed(closed.jaxpr.eqns):
            if any(v in wanted and v not in ready for v in e.outvars):
                equations.append(e)
                wanted |= {v for v in e.invars if not hasattr(v, "val")}
        values |= ready
        for e in reversed(equations):
            apply(e, values, _block_of(flat))
        return jax.tree.unflatten(tree, read(closed.jaxpr.outvars, values))

    def reads(late: int) -> list[bool]:
        """Of the arrays after the first `late`, whether anything is made of them."""
        used = {v for e in closed.jaxpr.eqns for v in e.invars if not hasattr(v, "val")}
        used |= {v for v in closed.jaxpr.outvars if not hasattr(v, "val")}
        return [v in used for v in closed.jaxpr.invars[late:]]

    parts: Any = run
    parts.early, parts.finish, parts.reads = early, finish, reads
    return parts


def is_block(x: Any) -> bool:
    """Whether a leaf of a tree of blocks ends here."""
    return isinstance(x, list)


def _block_of(flat: list[Any]) -> Any:
    return next(b for x in flat if isinstance(x, list) for b in x if b is not None)


def _elementwise(primitive, values, params, math: str):
    name, x = primitive.name, values[0]
    if name in ("logistic", "tanh") and math != "exact":
        if math == "fast":
            return jnp.tanh(x) if name == "tanh" else 0.5 * jnp.tanh(0.5 * x) + 0.5
        root = jax.lax.rsqrt(1.0 + jnp.exp(-x if name == "logistic" else -2.0 * x))
        return root * root if name == "logistic" else 2.0 * (root * root) - 1.0
    if name in ("copy", "stop_gradient"):
        return x
    return primitive.bind(*values, **params)


def traced(cell: Cell, rows: int, math: str) -> tuple[Any, Any, bool]:
    """The update and its pullback, blockwise, and whether y_t is h_t.

    The update is (p, r, carry, t) -> (carry, y), or (p + r, carry, t) -> (carry, y); its pullback takes what it took,
    the gradients by carry and y, and gives those of (p, r, carry), or (p + r, carry).
    """
    H, seen = cell.hidden_features, []

    def of(features):
        return jax.ShapeDtypeStruct((rows, features), jnp.float32)

    def update(*given):
        *products, before, t = given
        p, r = products if len(products) == 2 else (products[0], jnp.zeros_like(products[0]))
        new, y = cell.update(p, r, before, (), t)
        seen.append(y is new.h)
        return new, y

    def pullback(d_carry, d_y, *given):
        return jax.vjp(lambda *before: update(*before, given[-1]), *given[:-1])[1]((d_carry, d_y))

    c = jax.eval_shape(lambda: cell.initial_carry(rows))
    products = [of(cell.W_x.shape[1])] + ([] if cell.sums_products else [of(cell.W_h.shape[1])])
    given = (*products, c, jax.ShapeDtypeStruct((), jnp.int32))
    return blockwise(update, H, rows, math, *given), blockwise(pullback, H, rows, math, c, of(H), *given), seen[0]
